"""Where the time of a step goes: a table by place, and a trace of torch's profiler, of some steps after the first."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import torch

from mtl_cli.reporting.atomic import write_atomic
from mtl_cli.training.cost import now
from mtl_cli.training.spans import LISTENERS, PLACES, Listener, Place, span

if TYPE_CHECKING:
    from torch.profiler import profile

WARM_UP = 3
TIMED = 10
TRACED = 5
T = TypeVar("T")
Stage = Literal["waits", "timed", "traced"]


class Profile:
    """Follows the loop's rounds, each from asking for its input to the end of its step; once a run.

    First come the steps that probe, and some more; then steps whose places are timed; then others that are traced. Each
    is apart from the others, as waiting for a device would spoil the trace, and tracing takes time. An epoch's last
    round, after which the loop evaluates, is not among them.

    Args:
        folder: where `table.txt` and `trace.json.gz` go; None: nothing is followed.
        ready: whether steps are taken as they will be from now on.
        tell: is given each line of the table.
    """

    def __init__(self, folder: Path | None, ready: Callable[[], bool], tell: Callable[[str], None]) -> None:
        self._folder = None if folder is None or (folder / "table.txt").exists() else folder
        self._ready = ready
        self._tell = tell
        self._stage: Stage = "waits"
        self._waits = WARM_UP
        self._watch = Stopwatch()
        self._traced = 0
        self._trace: profile | None = None

    def rounds(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, one a round."""
        iterator = iter(batches)
        return iterator if self._folder is None else self._followed(iterator, self._folder)

    def finish(self) -> None:
        """Says so where the run was too short to be profiled."""
        if self._folder is not None:
            needed = WARM_UP + TIMED + TRACED
            self._tell(f"trainer.profile=true: too few steps; it takes {needed} after those that probe, within epochs")

    def _followed(self, batches: Iterator[T], folder: Path) -> Iterator[T]:
        try:
            while self._folder is not None:
                self._begin()
                with span("input"):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch
                self._end(folder)
        finally:
            self._leave(folder)
        yield from batches

    def _begin(self) -> None:
        """What was begun before and not ended, as an epoch was over, is forgotten."""
        if self._waits or not self._ready():
            self._stage = "waits"
        elif len(self._watch.rounds) < TIMED:
            self._stage = "timed"
            LISTENERS[:] = [self._watch]
            self._watch.begin()
        else:
            self._stage = "traced"
            self._trace = self._trace or _started()
            LISTENERS[:] = [Ranges()]

    def _end(self, folder: Path) -> None:
        match self._stage:
            case "waits":
                self._waits -= int(self._ready())
            case "timed":
                self._watch.end()
                if len(self._watch.rounds) == TIMED:
                    self._write(folder)
            case "traced":
                self._traced += 1
                if self._traced == TRACED:
                    self._leave(folder)

    def _leave(self, folder: Path) -> None:
        """At the end of an epoch, or of it all: nobody listens, and a trace ends."""
        LISTENERS.clear()
        if self._trace is not None:
            self._trace.stop()
            if self._traced:
                self._trace.export_chrome_trace(str(folder / "trace.json.gz"))
                self._folder = None
            self._trace = None

    def _write(self, folder: Path) -> None:
        lines = table(self._watch.rounds)
        folder.mkdir(exist_ok=True)
        write_atomic(folder / "table.txt", "\n".join(lines) + "\n")
        for line in lines:
            self._tell(line)


def _started() -> "profile":
    """A trace that has begun."""
    from torch.profiler import profile, supported_activities

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it writes its own lines among the run's
    trace = profile(activities=supported_activities())
    trace.start()
    return trace


class Stopwatch(Listener):
    """Adds up seconds by place; the device, if there is one, is waited for wherever the place changes."""

    def __init__(self) -> None:
        self.rounds: list[dict[Place, float]] = []
        self._spent: dict[Place, float] = {}
        self._places: list[Place] = []
        self._since = 0.0

    def begin(self) -> None:
        """A round begins."""
        self._spent = dict.fromkeys(PLACES, 0.0)
        self._places = ["other"]
        self._since = now()

    def end(self) -> None:
        """It has ended, and counts."""
        self._turn()
        self.rounds.append(self._spent)

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Its seconds are that place's, but for those of places within it."""
        self._turn()
        self._places.append(place)
        try:
            yield
        finally:
            self._turn()
            self._places.pop()

    def _turn(self) -> None:
        time = now()
        self._spent[self._places[-1]] += time - self._since
        self._since = time


class Ranges(Listener):
    """Names places in a trace of torch's profiler."""

    def at(self, place: Place) -> AbstractContextManager[None]:
        """A range of that name."""
        from torch.profiler import record_function

        return record_function(place)


def table(rounds: Sequence[dict[Place, float]]) -> list[str]:
    """Ten lines: milliseconds of a step and their share, by place."""
    count = len(rounds)
    mean = {place: 1000 * sum(spent[place] for spent in rounds) / count for place in PLACES}
    whole = sum(mean.values())
    waits = "; the device is waited for at each place" if torch.accelerator.is_available() else ""
    head = f"profile: a step takes {whole:.2f} ms (mean of {count}{waits})"
    return [head, *(f"{place:>12} {mean[place]:10.2f} ms {mean[place] / whole:6.1%}" for place in PLACES)]
