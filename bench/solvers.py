"""Weights from a Gramian: ours beside TorchJD's in one process, interleaved, on the same random Gramians."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchjd import aggregation as torchjd

from bench.turns import Found, Row, Told
from mtl_cli.aggregation.base import build
from tests.aggregation.fidelity import METHODS, Steered

ABOUT = (
    "Weights from a Gramian alone, one thread. Ours is the whole call from outside,\n"
    "`build(name, tasks).from_gramian`. TorchJD's is that of its weighting, given the Gramian, or the rows where it\n"
    "wants those. Every other Gramian is of gradients that conflict, each with the mean of all taken off."
)
TASKS = (2, 10, 40)
TURNS = 20
WIDTH = 1000
WARM = 3
TURN = 5.0
"""Milliseconds that a turn of quick ones takes at least."""


def rows_of(tasks: int, seed: int) -> Tensor:
    """Normal numbers (T, P); of an odd seed conflicting."""
    drawn = torch.Generator().manual_seed(seed)
    rows_TP = torch.randn(tasks, WIDTH, generator=drawn, dtype=torch.float64)
    return rows_TP - 0.99 * (seed % 2) * rows_TP.mean(0)


def ours(name: str, tasks: int) -> Callable[[Tensor, Tensor], object]:
    """A call from outside."""
    method = build(name, [f"task{t}" for t in range(tasks)], **METHODS[name].options)
    losses_T = torch.ones(tasks)
    return lambda _, gramian_TT: method.from_gramian(gramian_TT, losses_T)


def theirs(name: str, tasks: int) -> Callable[[Tensor, Tensor], object]:
    """TorchJD's weighting."""
    make = METHODS[name].theirs
    assert make is not None
    aggregator = make(tasks)
    while isinstance(aggregator, Steered):
        aggregator = aggregator.inner
    if isinstance(aggregator, torchjd.GramianWeightedAggregator):
        gramian_weighting = aggregator.gramian_weighting
        return lambda _, gramian_TT: gramian_weighting(gramian_TT)
    weighting = aggregator.weighting if isinstance(aggregator, torchjd.WeightedAggregator) else aggregator
    return lambda rows_TP, _: weighting(rows_TP)


def spent(side: Callable[[Tensor, Tensor], object], given: list[tuple[Tensor, Tensor]]) -> float:
    """Milliseconds a call."""
    start = time.perf_counter()
    for rows_TP, gramian_TT in given:
        side(rows_TP, gramian_TT)
    return 1000 * (time.perf_counter() - start) / len(given)


def compare(name: str, tasks: int, pairs: int) -> tuple[list[float], list[float]]:
    """Milliseconds a call of each, by turns; of quick ones so many at a turn that it takes some milliseconds."""
    rows = [rows_of(tasks, seed) for seed in range(pairs)]
    given = [(rows_TP, rows_TP @ rows_TP.T) for rows_TP in rows]
    mine, other = ours(name, tasks), theirs(name, tasks)
    turn = [(spent(mine, given[:WARM]), spent(other, given[:WARM])) for _ in range(2)][-1][1]
    calls = max(1, min(20, int(TURN / turn)))
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        some = [given[(number + k) % pairs] for k in range(calls)]
        for side, times_of in ((mine, times[0]), (other, times[1])):
            times_of.append(spent(side, some))
    return times


def measure(told: Told) -> Found:
    """Every method that both have, at three numbers of tasks; always on the CPU, by wall time and one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in (name for name, method in METHODS.items() if method.theirs is not None and " " not in name):
        for tasks in TASKS:
            turns = told.turns(TURNS)
            mine, other = compare(name, tasks, turns)
            ratios = [a / b for a, b in zip(mine, other, strict=True)]
            what, each = f"weights by {name}, T = {tasks}", statistics.median(other)
            yield Row(what, "TorchJD", statistics.quantiles(ratios, n=4), None, each, "ms", turns)
    torch.set_num_threads(threads)
