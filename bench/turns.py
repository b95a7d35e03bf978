"""Two sides that take turns in one process: ratios of their times, so that what else the machine does hits both."""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import torch

Step = Callable[[int], None]
"""Does one step, given its number."""
WARM, FEW = 3, 10
"""Turns that are not counted: so many, but one where fewer than FEW are."""
CPU_TURN, CUDA_TURN = 1, 10
"""Steps in a turn: a GPU is waited for after each turn, and works on while the next step is prepared."""


class Told(NamedTuple):
    """What a bench is asked for.

    clock: wall time, or the CPU time of this process and those that it started: with one thread that says the same of a
    machine whose cores are all busy, whatever else they do.
    share: of the turns that each row takes by itself; less is quicker and rougher.
    """

    device: torch.device
    clock: Literal["wall", "cpu"]
    share: float

    def turns(self, count: int) -> int:
        """So many of them, but enough for quartiles."""
        return max(3, round(self.share * count))

    def now(self) -> float:
        """Seconds, when the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() if self.clock == "wall" else time.process_time() + _of_children()

    @property
    def turn(self) -> int:
        """Steps in a turn."""
        return CUDA_TURN if self.device.type == "cuda" else CPU_TURN


def _of_children() -> float:
    """CPU seconds of the processes that this one started and that run, such as a loader's workers."""
    stats = [Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii") for child in multiprocessing.active_children()]
    ticks = sum(int(number) for stat in stats for number in stat.rpartition(")")[2].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


class Row(NamedTuple):
    """What one comparison came to.

    ratio: quartiles of mtl's over the peer's. bar: the largest median that is wanted; None: none is.
    peer_is: the peer's median, in `unit`, where it is told. n: turns of each side.
    """

    name: str
    peer: str
    ratio: list[float]
    bar: float | None
    peer_is: float | None
    unit: Literal["ms", "MiB", "s"]
    n: int


class Series(NamedTuple):
    """Medians over a size that grows: slope is that of their logarithms.

    panel: what grows. ms: a step, with its quartiles, at each of `sizes`. slope: the line's that fits best.
    """

    panel: str
    name: str
    sizes: list[int]
    ms: list[list[float]]
    slope: float


Found = Iterator[Row | Series]


def compare(
    first: Step,
    second: Step,
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
    turn: int = 1,
    warm: int = WARM,
) -> tuple[list[float], float]:
    """Ratios first / second of interleaved turns after `warm` others, and the second's median milliseconds a step."""
    ratios, times = [], []
    for number in range(pairs + warm):
        order = (first, second) if number % 2 else (second, first)
        spent: dict[int, float] = {}
        for function in order:
            start = clock()
            for k in range(turn):
                function(number * turn + k)
            spent[id(function)] = clock() - start
        if number >= warm:
            ratios.append(spent[id(first)] / spent[id(second)])
            times.append(spent[id(second)] / turn)
    return ratios, 1000 * statistics.median(times)


def row(name: str, peer: str, sides: tuple[Step, Step], bar: float | None, pairs: int, told: Told) -> Row:
    """A row of two steps that take turns."""
    turns = told.turns(pairs)
    ratios, each = compare(*sides, turns, told.now, told.turn, _warm(turns))
    return Row(name, peer, statistics.quantiles(ratios, n=4), bar, each, "ms", turns)


def alone(step: Step, turns: int, told: Told) -> list[float]:
    """Quartiles of a step's milliseconds, after a warm-up."""
    times, warm = [], _warm(turns)
    for number in range(turns + warm):
        start = told.now()
        for k in range(told.turn):
            step(number * told.turn + k)
        times.append(1000 * (told.now() - start) / told.turn)
    return statistics.quantiles(times[warm:], n=4)


def _warm(turns: int) -> int:
    return WARM if turns >= FEW else 1
