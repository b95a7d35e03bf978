"""Ctrl-C and SIGTERM: at once where nothing is lost, at the next safe moment in the loop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mtl_cli.options import Interrupted


class Stop:
    """Within it, SIGINT and SIGTERM raise Interrupted; outside, both do what they did before.

    signal: what came within `later`, where the first one only asks. A second one raises KeyboardInterrupt.

    Args:   told_twice: whether SIGTERM may come again and mean no more: from a launcher, and from who ends it.
    """

    def __init__(self, told_twice: bool = False) -> None:
        self._told_twice = told_twice
        self.signal: int | None = None
        self._waits = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def later(self) -> Iterator[None]:
        """Within it, a signal is kept for the one who looks."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if self._told_twice and number == signal.SIGTERM:
                return
            raise KeyboardInterrupt
        if not self._waits:
            raise Interrupted(128 + number)
        self.signal = number
