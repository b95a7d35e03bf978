"""The results page: its figures are those that runs left."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results", ROOT / "bench" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a run of two epochs leaves, of which the first was selected."""
    put(tmp_path, "status.json", state="done", started="2026-01-02T23:59:00+00:00", updated="2026-01-03T00:01:30+00:00")
    put(
        tmp_path, "env.json", command=["mtl", "train"], git="abc", versions={"torch": "9.9"}, device="cpu, 1 thread",
        seeds={"seed": 3, "data.seed": 4},
    )  # fmt: skip
    test = {"left": {"accuracy": 0.9123, "loss": 1.0}, "right": {"accuracy": 0.8}}
    events = [
        {"event": "epoch", "epoch": 1},
        {"event": "epoch", "epoch": 2},
        {"event": "final", "epoch": 1, "test": test},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return tmp_path


def put(folder: Path, name: str, **facts: object) -> None:
    (folder / name).write_text(json.dumps(facts))


def test_the_page_is_written_from_the_records_and_from_nothing_else(results: ModuleType) -> None:
    records = json.loads((ROOT / "bench" / "results.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results.page(records)


def test_every_record_is_of_the_command_that_repeats_it(results: ModuleType) -> None:
    named = {name: words for part in results.BENCHMARKS.values() for name, words in part.runs.items()}
    for name, record in json.loads((ROOT / "bench" / "results.json").read_text(encoding="utf-8")).items():
        assert record["command"] == ["mtl", "train", *named[name]]


def test_a_row_shows_what_the_run_left(results: ModuleType, run: Path) -> None:
    text = results.page({"multi_mnist": results.measured(run, "on a Sunday")})
    assert "| `mtl`, multi_mnist | 2 (1) | 91.23 | 80.00 | 2 min 30 s |" in text
    assert "`mtl`, multi_mnist (seed 3, data.seed 4; cpu, 1 thread, torch 9.9, commit abc; on a Sunday):" in text
    assert "```sh\nmtl train\n```" in text


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_a_run_that_is_not_done_is_no_result(results: ModuleType, run: Path, state: str) -> None:
    put(run, "status.json", state=state)
    with pytest.raises(SystemExit, match=state):
        results.measured(run, "")


def test_a_run_that_was_resumed_has_no_time(results: ModuleType, run: Path) -> None:
    env = json.loads((run / "env.json").read_text())
    put(run, "env.json", **env, resumes=[{}])
    with pytest.raises(SystemExit, match="in one go"):
        results.measured(run, "")
