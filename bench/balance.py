"""A balancing step of mtl beside TorchJD's on the same model and batch: one process, interleaved.

TorchJD takes a backward pass a task (`parallel_chunk_size=1`) or all tasks in one by vmap (its default), with or
without `optimize_gramian_computation`, whichever is fastest on that work with upgrad; both sides have the same options.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch.nn import functional
from torchjd.aggregation import Aggregator, GramianWeightedAggregator
from torchjd.autojac import jac_to_grad, mtl_backward

from bench.step import THE_CNN, by_mtl, make_batch, make_model, make_tasks, modules
from bench.turns import Found, Step, Told, alone, row
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
        if setting.optimized and isinstance(aggregator, GramianWeightedAggregator):
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


def best(makes: Sequence[tuple[str, Callable[[], Step]]], told: Told) -> tuple[str, Callable[[], Step]]:
    """The quickest of several ways to do the same."""
    return min(makes, key=lambda named: alone(named[1](), 3, told)[1])


def measure(told: Told) -> Found:
    """All methods on the small CNN at three numbers of tasks; then one on a ResNet-18 with a small batch."""
    for count, turns in TURNS.items():
        tasks = make_tasks(count)
        batch = make_batch(list(tasks), 128, told.device)
        yield from _beside("cnn", make_model("cnn", tasks, **THE_CNN).to(told.device), batch, NAMES, 1.0, turns, told)
    tasks = make_tasks(10)
    model = make_model("resnet18_cifar", tasks).to(told.device)
    batch = make_batch(list(tasks), SMALL_BATCH, told.device)
    yield from _beside(f"resnet18_cifar, batch {SMALL_BATCH}", model, batch, ("upgrad", "pcgrad"), 0.7, 4, told)


def _beside(
    what: str, model: MultiTaskModel, batch: Batch, names: Sequence[str], bar: float, turns: int, told: Told
) -> Found:
    tasks = make_tasks(len(batch.parts[0].targets))
    ways = [
        (label, partial(by_torchjd, copy.deepcopy(model), batch, theirs("upgrad", len(tasks)), setting))
        for label, setting in SETTINGS.items()
    ]
    label, _ = best(ways, told)
    for name in names:
        mine = by_mtl(copy.deepcopy(model), tasks, batch, "fixed", name, **METHODS[name].options)
        aggregator = theirs(name, len(tasks))
        other = by_torchjd(copy.deepcopy(model), batch, aggregator, SETTINGS[label])
        plain = label if isinstance(aggregator, GramianWeightedAggregator) else label.partition(",")[0]
        yield row(f"{name}, {what}, T = {len(tasks)}", f"TorchJD, {plain}", (mine, other), bar, turns, told)
