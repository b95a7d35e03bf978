"""A sweep leaves the run directories of its jobs, and no empty folders around jobs that never began."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from hydra.types import RunMode

from mtl_cli.cli.arguments import Arguments

RECORD = "multirun.yaml"
KEY = "hydra.sweep.dir"


class Traces(NamedTuple):
    """Where a sweep may leave folders.

    stamp:   the name of its own folder, below RUNS/<task set>; empty for a single run.
    root:    RUNS, as far as the command line tells.
    folders: of the sweep and of its jobs, as they become known.
    absent:  what was not there before, innermost first.
    """

    stamp: str
    root: Path
    folders: list[Path]
    absent: list[Path]

    @classmethod
    def of(cls, arguments: Arguments) -> "Traces":
        """What the sweep of this command line may leave."""
        told, where = arguments.last("runs_dir"), arguments.last(KEY)
        root = Path((told.plain if told else None) or os.environ.get("MTL_RUNS") or "runs").absolute()
        folders = [Path(where.plain).absolute()] if where and where.plain and "${" not in where.plain else []
        absent = [path for start in (root, *folders) for path in (start, *start.parents) if not path.exists()]
        return cls(f"{datetime.now():%Y%m%d-%H%M%S-%f}", root, folders, absent)  # noqa: DTZ005  # the user's own time

    def argv(self, command: str, arguments: Arguments) -> list[str]:
        """The override that makes the folder of this sweep known before Hydra makes it."""
        if not arguments.sweep or arguments.last(KEY):
            return []
        task = "${hydra.runtime.choices.task}" if command == "train" else "${task}"
        return [f"{KEY}=${{runs_dir}}/{task}/{self.stamp}"]

    def seen(self, hydra: Any) -> None:
        """Takes note of the folder of a job that Hydra runs."""
        if hydra.mode == RunMode.MULTIRUN:
            self.folders[:0] = [Path(hydra.runtime.output_dir), Path(hydra.sweep.dir).absolute()]

    @property
    def answers(self) -> Path:
        """Where jobs in other processes answer; on the disk that holds the runs, which other machines see too."""
        return self.root / f".{self.stamp}"

    def tidy(self) -> None:
        """Removes the folders of this sweep that hold nothing, and then what was made for them."""
        for folder in (*self.folders, *self.root.glob(f"*/{self.stamp}")):
            remove_empty(folder)
            if self.stamp == folder.name:
                remove_empty(folder.parent)
        for folder in self.absent:
            remove_empty(folder)


def remove_empty(folder: Path) -> None:
    """Removes a folder in which nothing stands, or only Hydra's record of the sweep; leaves all else alone."""
    if not folder.is_dir():
        return
    names = [entry.name for entry in folder.iterdir()]
    if names == [RECORD]:
        (folder / RECORD).unlink()
    if names in ([], [RECORD]):
        folder.rmdir()


def code(codes: list[int]) -> int:
    """The exit code of all jobs together: 2 only where every one was a mistake in what was asked for."""
    if codes and all(code == 2 for code in codes):
        return 2
    return 1 if any(codes) else 0
