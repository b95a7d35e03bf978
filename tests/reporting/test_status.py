import json
import os
from datetime import datetime
from pathlib import Path

import pytest

from mtl_cli.reporting.status import StatusFile


def test_status_tells_where_the_run_stands_and_how_to_go_on(tmp_path):
    StatusFile(tmp_path, "mtl train resume=here").write("running", 2, 30, samples_per_s=123.456)
    found = json.loads((tmp_path / "status.json").read_text())
    assert {key: found[key] for key in ("state", "epoch", "step", "pid", "samples_per_s", "resume", "error")} == {
        "state": "running",
        "epoch": 2,
        "step": 30,
        "pid": os.getpid(),
        "samples_per_s": 123.5,
        "resume": "mtl train resume=here",
        "error": None,
    }
    for key in ("started", "updated"):
        assert datetime.fromisoformat(found[key]).utcoffset().total_seconds() == 0


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_former_status_and_nothing_beside_it(tmp_path, monkeypatch, fails):
    status = StatusFile(tmp_path, "again")
    status.write("running", 1, 10)
    before = (tmp_path / "status.json").read_bytes()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if fails == "fsync" else (Path, "replace")), no_space)
    with pytest.raises(OSError, match="No space"):
        status.write("failed", 2, 20)
    assert (tmp_path / "status.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
