"""A balancing step with a data set for each task, beside TorchJD's on the same work: one process, interleaved.

The network has no batch norm, so a forward pass a part and one joint forward pass of all rows give the same gradients:
TorchJD may do either.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchjd.aggregation import Aggregator, UPGrad
from torchjd.autojac import jac, jac_to_grad, mtl_backward

from bench.balance import best
from bench.step import THE_CNN, by_mtl, make_batch, make_model, make_tasks, modules
from bench.turns import Found, Step, Told, row
from mtl_cli.data.base import Batch
from mtl_cli.model import MultiTaskModel
from mtl_cli.tasks.base import Task

ABOUT = (
    "One task per sample: each task has images of its own, 120 rows in all, on the cnn; upgrad on both sides. TorchJD\n"
    "by the quickest of its ways: a forward pass a part or a joint one, a backward pass a task or all in one by vmap."
)
ROWS = 120
BARS = {4: None, 10: 0.25, 40: 0.1}
TURNS = {4: 15, 10: 8, 40: 3}
FURTHEST = 1e-3
"""Between the two sides' gradients, relative to the largest: a first step of TorchJD's in float32."""


class Theirs(NamedTuple):
    """One of TorchJD's ways: the name in the table, and what makes its step."""

    name: str
    make: Callable[[MultiTaskModel, Batch, Aggregator], Step]


def by_torchjd(joint: bool, chunk: int | None) -> Callable[[MultiTaskModel, Batch, Aggregator], Step]:
    """The loop of TorchJD's documentation, after a forward pass of each part or a joint one of all rows."""

    def make(model: MultiTaskModel, batch: Batch, aggregator: Aggregator) -> Step:
        optimizer, losses = _begun(model, batch, joint)
        shared = list(model.sharing.parameters())

        def step(number: int) -> None:  # noqa: ARG001  # all sides take the same
            optimizer.zero_grad(set_to_none=True)
            found, features = losses()
            mtl_backward(found, features=features, parallel_chunk_size=chunk)
            jac_to_grad(shared, aggregator)
            optimizer.step()

        return step

    return make


def a_graph_a_task(model: MultiTaskModel, batch: Batch, aggregator: Aggregator) -> Step:
    """A loop that TorchJD does not have: its `jac` of each part's loss alone, rows put together by hand."""
    optimizer, losses = _begun(model, batch, joint=False)
    shared = list(model.sharing.parameters())
    heads = [list(model.heads[f"task:{task}"].parameters()) for part in batch.parts for task in part.targets]

    def step(number: int) -> None:  # noqa: ARG001  # all sides take the same
        optimizer.zero_grad(set_to_none=True)
        rows = []
        for loss, head in zip(losses()[0], heads, strict=True):
            found = jac(loss, [*shared, *head])
            rows.append(torch.cat([part.flatten() for part in found[: len(shared)]]))
            for parameter, gradient in zip(head, found[len(shared) :], strict=True):
                parameter.grad = gradient[0]
        update = aggregator(torch.stack(rows))
        for parameter, part in zip(shared, update.split([p.numel() for p in shared]), strict=True):
            parameter.grad = part.view_as(parameter)
        optimizer.step()

    return step


WAYS = (
    Theirs("a pass a part, chunk size 1", by_torchjd(joint=False, chunk=1)),
    Theirs("a pass a part, default", by_torchjd(joint=False, chunk=None)),
    Theirs("a joint pass, chunk size 1", by_torchjd(joint=True, chunk=1)),
    Theirs("a joint pass, default", by_torchjd(joint=True, chunk=None)),
)
BY_HAND = Theirs("`jac` by hand, a graph a task", a_graph_a_task)


def _begun(
    model: MultiTaskModel, batch: Batch, joint: bool
) -> tuple[torch.optim.Optimizer, Callable[[], tuple[list[Tensor], list[Tensor]]]]:
    """An optimizer, and what computes the losses and the features that they are read from."""
    backbone, heads = modules(model)
    targets = [(heads[task], target) for part in batch.parts for task, target in part.targets.items()]
    inputs = torch.cat([part.inputs for part in batch.parts])
    sizes = [len(part.inputs) for part in batch.parts]
    model.train()

    def losses() -> tuple[list[Tensor], list[Tensor]]:
        whole = [backbone(inputs).vector] if joint else [backbone(part.inputs).vector for part in batch.parts]
        vectors = whole[0].split(sizes) if joint else whole
        pairs = zip(targets, vectors, strict=True)
        return [functional.cross_entropy(head(vector), target) for (head, target), vector in pairs], whole

    return torch.optim.AdamW(model.parameters(), lr=1e-3), losses


def same_gradients(model: MultiTaskModel, tasks: dict[str, Task], batch: Batch, way: Theirs) -> float:
    """How far apart the two sides' gradients are after one step, relative to the largest."""
    mine, its = copy.deepcopy(model), copy.deepcopy(model)
    by_mtl(mine, tasks, batch, "fixed", "upgrad")(0)
    way.make(its, batch, UPGrad())(0)
    pairs = [(p.grad, q.grad) for p, q in zip(mine.parameters(), its.parameters(), strict=True)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs if a is not None and b is not None)


def measure(told: Told) -> Found:
    """Three numbers of tasks; beside a loop that TorchJD does not have, too, and the plain sum by hand."""
    for count, turns in TURNS.items():
        tasks = make_tasks(count)
        batch = make_batch(list(tasks), ROWS // count, told.device, apart=True)
        model = make_model("cnn", tasks, apart=True, **THE_CNN).to(told.device)
        ways = [(way.name, partial(way.make, copy.deepcopy(model), batch, UPGrad())) for way in WAYS]
        label, _ = best(ways, told)
        (way,) = [way for way in WAYS if way.name == label]
        if (apart := same_gradients(model, tasks, batch, way)) > FURTHEST:
            raise SystemExit(
                f"both sides should have the same gradients. Found {apart:.0e} between them at T = {count}"
            )
        for its, bar in ((way, BARS[count]), (BY_HAND, None)):
            sides = (
                by_mtl(copy.deepcopy(model), tasks, batch, "fixed", "upgrad"),
                its.make(copy.deepcopy(model), batch, UPGrad()),
            )
            yield row(f"one task per sample, T = {count}", f"TorchJD, {its.name}", sides, bar, turns, told)
