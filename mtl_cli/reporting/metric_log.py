"""metrics.jsonl, the truth about a run, one event a line; and metrics.csv, derived from it, one epoch a row."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from mtl_cli.options import JobError, text
from mtl_cli.reporting.atomic import write_atomic
from mtl_cli.reporting.epoch_csv import EpochColumns
from mtl_cli.reporting.tensorboard import EventFile

CHANGED = "it was changed by hand: put it back, or start a new run from the weights (init_from=)"


@final
class MetricLog:
    """Appends events; a run that was killed and resumed leaves the same bytes as one that never was.

    So an event holds no time of day and no duration.

    Args:
        run_dir: where both files lie.
        tasks: task -> its metrics, the columns of metrics.csv.
        penalties: names that an epoch's penalties may have.
    """

    def __init__(self, run_dir: Path, tasks: Mapping[str, Sequence[str]], penalties: Sequence[str] = ()) -> None:
        self.path = run_dir / "metrics.jsonl"
        self.csv_path = run_dir / "metrics.csv"
        self._columns = EpochColumns(tasks, penalties)
        self._file = self.path.open("ab")
        self._followers: list[EventFile] = []
        self.cut(_whole_lines(self.path))

    def follow(self, follower: EventFile) -> None:
        """From now on `follower` gets each event too; it is flushed and closed with this."""
        self._followers.append(follower)

    def write(self, event: Mapping[str, Any]) -> None:
        """Appends one event; numbers that are not finite become null.

        Raises: ValueError: an epoch names a task, metric or penalty that the columns lack.
        """
        clean = finite(event)
        row = self._columns.row(clean) if clean["event"] == "epoch" else None
        self._file.write(json.dumps(clean, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._file.flush()
        if row is not None:
            with self.csv_path.open("a", encoding="utf-8", newline="") as file:
                file.write(row)
        for follower in self._followers:
            follower.write(clean)

    def position(self) -> int:
        """The size of metrics.jsonl in bytes, all of it on the disk: what a checkpoint keeps for `cut`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        for follower in self._followers:
            follower.flush()
        return self.path.stat().st_size

    def cut(self, position: int) -> None:
        """Drops what was written after `position`, from both files.

        Raises: JobError: `position` is not one that `position()` gave for this file, which somebody changed.
        """
        size = self.path.stat().st_size
        if not 0 <= position <= size:
            raise JobError(f"{self.path} should hold {position} bytes. Found {size}: {CHANGED}")
        if position != _whole_lines(self.path, position):
            raise JobError(f"{self.path} should end a line at byte {position}. Found the middle of one: {CHANGED}")
        os.truncate(self.path, position)
        rows = [self._columns.row(event) for event in read_events(self.path) if event["event"] == "epoch"]
        write_atomic(self.csv_path, self._columns.heading() + "".join(rows))

    def close(self) -> None:
        """Closes the file; both stay."""
        self._file.close()
        for follower in self._followers:
            follower.close()


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a metrics.jsonl, but for a last line that a kill cut short.

    Raises: JobError: a line is no event.
    """
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if line.endswith(b"\n"):
            try:
                yield json.loads(line)
            except ValueError:
                raise JobError(
                    f"{path}, line {number} should be JSON. Found {text(str(line[:30]))}: {CHANGED}"
                ) from None


def _whole_lines(path: Path, before: int | None = None) -> int:
    """Where the last whole line ends that lies before a position."""
    return path.read_bytes()[:before].rfind(b"\n") + 1


def finite(value: Any) -> Any:
    """The value with null for each number that is not finite, as JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
