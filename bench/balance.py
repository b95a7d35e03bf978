"""A balancing step of mtl beside TorchJD's on the same model and batch, by turns.

TorchJD takes a backward pass a task (`parallel_chunk_size=1`) or all tasks in one by vmap (its default), with or
without `optimize_gramian_computation`, whichever is fastest on that work with upgrad; both sides have the same options.
"""

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch.nn import functional
from torchjd.aggregation import Aggregator, GramianWeightedAggregator
from torchjd.autojac import jac_to_grad, mtl_backward

from bench.sides import Side, keeping, standing
from bench.step import Work, modules, mtl_side
from bench.turns import Found, Step, Told, by_turns, row, taken
from mtl_cli.data.base import Batch
from mtl_cli.model import MultiTaskModel
from tests.aggregation.fidelity import METHODS, Steered

ABOUT = (
    "Each aggregation that sees no more of the gradients than their Gramian, beside TorchJD's of the same name with\n"
    "the same options; TorchJD by its quickest setting."
)
NAMES = (
    "pcgrad", "mgda", "cagrad", "nash_mtl", "upgrad", "dualproj", "imtl_g", "aligned_mtl", "fairgrad", "gradvac", "pcd",
    "sdmgrad",
)  # fmt: skip
"""What both have; MoDo looks at independent batches, which TorchJD leaves to the user."""
TURNS = {2: 20, 10: 10, 40: 5}
SMALL_BATCH = 8


class Setting(NamedTuple):
    """How TorchJD takes gradients.

    chunk: tasks in one backward pass; None: all, by vmap. optimized: the Gramian is added up parameter by parameter.
    """

    chunk: int | None
    optimized: bool


SETTINGS = {
    "chunk size 1": Setting(1, optimized=False),
    "default": Setting(None, optimized=False),
    "chunk size 1, Gramian optimized": Setting(1, optimized=True),
}


def by_torchjd(model: MultiTaskModel, batch: Batch, aggregator: Aggregator, setting: Setting) -> Step:
    """The loop that TorchJD's documentation shows."""
    (part,) = batch.parts
    backbone, heads = modules(model)
    shared = list(backbone.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()

    def step(number: int) -> None:  # noqa: ARG001  # both sides take the same
        optimizer.zero_grad(set_to_none=True)
        vector = backbone(part.inputs).vector
        losses = [functional.cross_entropy(heads[task](vector), target) for task, target in part.targets.items()]
        mtl_backward(losses, features=vector, parallel_chunk_size=setting.chunk)
        if setting.optimized:
            jac_to_grad(shared, aggregator, optimize_gramian_computation=True)
        else:
            jac_to_grad(shared, aggregator)
        optimizer.step()

    return step


def theirs(name: str, tasks: int) -> Aggregator:
    """TorchJD's aggregator of that name."""
    make = METHODS[name].theirs
    assert make is not None
    made = make(tasks)
    aggregator = made.inner if isinstance(made, Steered) else made
    assert isinstance(aggregator, Aggregator)
    return aggregator


def torchjd_side(work: Work, name: str, setting: Setting) -> Step:
    """By TorchJD."""
    model, tasks, batch = work.made()
    return by_torchjd(model, batch, theirs(name, len(tasks)), setting)


def best(ways: Mapping[str, Side], told: Told) -> str:
    """The quickest of several ways to do the same."""
    with standing(list(ways.values()), told) as steps:
        times = taken(steps, 2, told.now, warm=1)
    return min(zip(ways, times, strict=True), key=lambda named: statistics.median(named[1]))[0]


def measure(told: Told) -> Found:
    """All methods on the small CNN at three numbers of tasks; then two on a ResNet-18 with a small batch."""
    for count, turns in TURNS.items():
        yield from _beside("cnn", Work("cnn", count, 128, told.device), NAMES, 1.0, turns, told)
    work = Work("resnet18_cifar", 10, SMALL_BATCH, told.device)
    yield from _beside(f"resnet18_cifar, batch {SMALL_BATCH}", work, ("upgrad", "pcgrad"), 0.7, 10, told)


def _beside(what: str, work: Work, names: Sequence[str], bar: float, turns: int, told: Told) -> Found:
    ways = {label: partial(torchjd_side, work, "upgrad", setting) for label, setting in SETTINGS.items()}
    label = best(ways, told)
    for name in names:
        plain = label if isinstance(theirs(name, work.tasks), GramianWeightedAggregator) else label.partition(",")[0]
        other = partial(torchjd_side, work, name, SETTINGS[plain])
        peers: dict[str, Side] = {f"TorchJD, {plain}": other}
        if name == names[0]:
            peers[f"TorchJD, {plain}, freed memory kept"] = partial(keeping, other)
        mine = partial(mtl_side, work, "fixed", name, **METHODS[name].options)
        with standing([mine, *peers.values()], told) as steps:
            first, *others = by_turns(steps, turns, told)
        for peer, its, wanted in zip(peers, others, (bar, None), strict=False):
            yield row(f"{name}, {what}, T = {work.tasks}", peer, first, its, wanted)
