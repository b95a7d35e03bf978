"""Files, folders and runs, as far as a path is typed."""

import os
from collections.abc import Iterator
from pathlib import Path

from mtl_cli.cli.completion.candidates import Candidate, beginning

RUNS = ("checkpoint", "resume", "init_from")
"""Keys that a run is named by."""
FOLDERS = ("run_dir", "runs_dir", "data_dir", "cache_dir", "--config-dir", "--config-path")
MOST = 50  # runs that are offered at once


def paths(key: str, typed: str, runs_dir: str, data_dir: str) -> list[Candidate]:
    """What the value of `key` may become: of runs the newest first, and only where there is none files and folders."""
    runs = beginning(typed, _runs(runs_dir)) if key in RUNS else []
    below = data_dir if key.endswith(".path") else "."
    files = () if key in FOLDERS else ("best", "last") if key in RUNS else None
    return runs[:MOST] or list(_entries(typed, below, files))


def _runs(runs_dir: str) -> Iterator[Candidate]:
    """The runs with a checkpoint below `runs_dir`: <task set>/<time>, of a sweep <task set>/<time>/<job>."""
    home = _folder(runs_dir)
    found = [path.parent.parent for path in (*home.glob("*/*/checkpoints/last"), *home.glob("*/*/*/checkpoints/last"))]
    for run in sorted(found, key=lambda run: run.relative_to(home).parts[1:], reverse=True):
        yield Candidate(os.path.normpath(Path(runs_dir) / run.relative_to(home)), whole=True)


def _entries(typed: str, below: str, files: tuple[str, ...] | None) -> Iterator[Candidate]:
    """Folders, and the files of these names or, for None, all; what begins with a dot only where a dot was typed."""
    name = typed.rpartition("/")[2]
    start = typed[: len(typed) - len(name)]
    folder = _folder(below) / _folder(start)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else ():
        if not entry.name.startswith(name) or (entry.name.startswith(".") and not name.startswith(".")):
            continue
        if entry.is_dir():
            yield Candidate(f"{start}{entry.name}/", whole=False)
        elif files is None or entry.name in files:
            yield Candidate(f"{start}{entry.name}", whole=True)


def _folder(typed: str) -> Path:
    return Path(os.path.expandvars(typed)).expanduser()
