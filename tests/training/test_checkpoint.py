"""The store of a run's checkpoints."""

import shutil
from pathlib import Path

import pytest
import torch

from mtl_cli.options import JobError
from mtl_cli.training import checkpoint
from mtl_cli.training.checkpoint import KEPT, Contents, Store, load_training, load_weights, verify


def contents(value: float) -> Contents:
    """A checkpoint whose one weight and state are `value`."""
    tensor = torch.full((3, 2), value)
    return Contents({"w": tensor.T}, {"state": tensor, "step": int(value)}, {"step": int(value)}, "task: toy\n")


def store(folder: Path, *values: float, best: float | None = None) -> Store:
    """A store with a checkpoint for each value."""
    made = Store(folder)
    for value in values:
        made.save(int(value), contents(value), best=value == best)
    return made


def names(made: Store) -> list[str]:
    """The checkpoints that are there, oldest first."""
    return sorted(entry.name for entry in made.root.iterdir() if entry.is_dir())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    folder = store(tmp_path, 7).pointed("last")
    assert folder is not None
    assert load_weights(folder)["w"].equal(torch.full((2, 3), 7.0))
    assert load_training(folder, torch.device("cpu"))["state"].equal(torch.full((3, 2), 7.0))


def test_the_newest_and_the_best_stay_and_the_rest_goes(tmp_path: Path) -> None:
    made = store(tmp_path, 1, 2, 3, 4, 5, best=2)
    assert names(made) == ["step-00000002", *(f"step-0000000{n}" for n in range(6 - KEPT, 6))]
    assert [made.pointed(p).name for p in ("last", "best")] == ["step-00000005", "step-00000002"]


def test_a_step_that_is_saved_again_overwrites_nothing(tmp_path: Path) -> None:
    made = store(tmp_path, 3, 3)
    assert names(made) == ["step-00000003", "step-00000003.1"]
    newest, passed = made.newest()
    assert newest is not None
    assert (newest.name, passed) == ("step-00000003.1", [])


def test_the_tenth_save_of_a_step_is_newer_than_the_ninth(tmp_path: Path) -> None:
    made = store(tmp_path, 3)
    for n in (9, 10):
        shutil.copytree(made.root / "step-00000003", made.root / f"step-00000003.{n}")
    newest, _ = made.newest()
    assert newest is not None
    assert newest.name == "step-00000003.10"


def test_each_damaged_newer_one_is_passed_over_with_a_line(tmp_path: Path) -> None:
    made = store(tmp_path, 1, 2)
    (made.root / "step-00000002" / "training.pt").write_bytes(b"")
    newest, passed = made.newest()
    assert newest is not None
    assert newest.name == "step-00000001"
    assert len(passed) == 1
    assert "step-00000002" in passed[0]
    assert "training.pt" in passed[0]


def test_a_full_disk_leaves_the_older_checkpoints_whole_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = store(tmp_path, 1)

    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 64 vs 0\nmore")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(JobError, match=r"step-00000002 could not be saved: the disk is full, 0 bytes are free"):
        made.save(2, contents(2), best=True)
    assert sorted(entry.name for entry in made.root.iterdir()) == ["last", "step-00000001"]
    verify(made.root / "step-00000001")


def test_litter_of_a_killed_save_is_swept_by_the_next(tmp_path: Path) -> None:
    made = store(tmp_path, 1)
    (made.root / ".tmp-2-99").mkdir()
    (made.root / ".tmp-last").write_text("half")
    made.save(2, contents(2), best=False)
    assert not list(made.root.glob(".tmp*"))
