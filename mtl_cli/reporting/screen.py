"""What a run tells as it goes, and how often."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import final

from mtl_cli.reporting.records import EpochRow, Header, Progress, ResultRow


class Screen(ABC):
    """Someone who looks at a run: a terminal, a pipe, a log file."""

    @abstractmethod
    def header(self, header: Header) -> None:
        """What the run is about to do."""

    @abstractmethod
    def progress(self, progress: Progress) -> None:
        """Where it stands; call it at every step, a screen shows as many as fit."""

    @abstractmethod
    def epoch(self, row: EpochRow) -> None:
        """One epoch's numbers."""

    @abstractmethod
    def note(self, line: str) -> None:
        """One line about something else, a warning too."""

    @abstractmethod
    def command(self, line: str) -> None:
        """A command to type next: one line, however long, so that it can be copied."""

    @abstractmethod
    def result(self, rows: Sequence[ResultRow]) -> None:
        """The numbers at the end."""

    @abstractmethod
    def close(self) -> None:
        """Leaves the terminal as it was."""


@final
class Pace:
    """Says yes at most once in so many seconds."""

    def __init__(self, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._last = clock()

    def due(self) -> bool:
        """Whether it is time again; if so, waits anew from now."""
        now = self._clock()
        if now - self._last < self._every:
            return False
        self._last = now
        return True
