"""Ctrl-C and SIGTERM ask a run to stop at the next safe moment; a second Ctrl-C stops it at once."""

import signal
from types import FrameType
from typing import Any


class Stop:
    """Within it, the first SIGINT or SIGTERM sets `signal`; outside, both do what they did before."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # the signature of a handler
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
