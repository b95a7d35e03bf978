"""How much of its time a run waits for data."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
WORTH_A_LINE = 0.1
"""The share of the time from which on it is said."""


class Waiting:
    """Measures, epoch by epoch, how long the loop waits for its next batch, and how long it then takes.

    Args:
        tell: is given the line that says so.
        clock: in seconds.
    """

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self._tell = tell
        self._clock = clock
        self._waited = 0.0
        self._worked = 0.0

    def batches(self, batches: Iterable[T]) -> Iterator[T]:
        """The same ones."""
        iterator, before = iter(batches), self._clock()
        while True:
            batch = next(iterator, None)
            there = self._clock()
            if batch is None:
                return
            self._waited += there - before
            yield batch
            before = self._clock()
            self._worked += before - there

    def over(self, epoch: int) -> None:
        """An epoch is: says what it waited, where that is worth a line."""
        share = self._waited / max(self._waited + self._worked, 1e-9)
        if share >= WORTH_A_LINE:
            self._tell(f"epoch {epoch}: the model waited for data {share:.0%} of the time")
        self._waited = self._worked = 0.0
