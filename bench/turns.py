"""Two sides that take turns in one process: ratios of their times, so that what else the machine does hits both."""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

Step = Callable[[int], None]
"""Does one step, given its number."""
WARM, FEW = 3, 10
"""Turns that are not counted: so many, but none beyond those that tell a turn's length where fewer than FEW are."""
CUDA_TURN = 10
"""Steps in a turn: a GPU is waited for after each turn, and works on while the next step is prepared."""
CPU_TURN, MOST = 0.3, 100
"""Seconds that a turn of short steps lasts on a CPU, and how many it has at most: the first finds caches cold."""
REST = 0.03
"""Seconds between turns, after which no thread of the side before waits for work by spinning."""


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

    def turn(self, steps: Sequence[Step]) -> int:
        """Steps in a turn of theirs."""
        if self.device.type == "cuda":
            return CUDA_TURN
        took = min(min(its) for its in taken(steps, 1, self.now, warm=1))
        return max(1, min(MOST, round(1000 * CPU_TURN / took)))


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


def taken(
    steps: Sequence[Step],
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
    turn: int = 1,
    warm: int = WARM,
    rest: float = 0.0,
) -> list[list[float]]:
    """Milliseconds a step of each, turn by turn after `warm` others; each begins as often as any other."""
    times: list[list[float]] = [[] for _ in steps]
    for number in range(turns + warm):
        for place in range(len(steps)):
            which = (number + place + 1) % len(steps)
            time.sleep(rest)
            start = clock()
            for k in range(turn):
                steps[which](number * turn + k)
            times[which].append(1000 * (clock() - start) / turn)
    return [its[warm:] for its in times]


def compare(
    first: Step,
    second: Step,
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
    turn: int = 1,
    warm: int = WARM,
) -> tuple[list[float], float]:
    """Ratios first / second of interleaved turns, and the second's median milliseconds a step."""
    mine, other = taken((first, second), pairs, clock, turn, warm)
    return [a / b for a, b in zip(mine, other, strict=True)], statistics.median(other)


def by_turns(steps: Sequence[Step], count: int, told: Told) -> list[list[float]]:
    """Milliseconds a step of each, in as many turns as are asked for."""
    turns = told.turns(count)
    return taken(steps, turns, told.now, told.turn(steps), WARM if turns >= FEW else 0, REST)


def row(name: str, peer: str, mine: Sequence[float], other: Sequence[float], bar: float | None) -> Row:
    """A row of two sides' milliseconds."""
    ratios = [a / b for a, b in zip(mine, other, strict=True)]
    return Row(name, peer, statistics.quantiles(ratios, n=4), bar, statistics.median(other), "ms", len(ratios))
