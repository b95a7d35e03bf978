"""A balancing step with a data set for each task, beside TorchJD's on the same work, by turns.

The network has no batch norm, so a forward pass a part and one joint forward pass of all rows give the same gradients:
TorchJD may do either.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchjd.aggregation import Aggregator, UPGrad
from torchjd.autojac import jac, jac_to_grad, mtl_backward

from bench.balance import best
from bench.sides import standing
from bench.step import Work, by_mtl, modules, mtl_side
from bench.turns import Found, Step, Told, by_turns, row
from mtl_cli.data.base import Batch
from mtl_cli.model import MultiTaskModel

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


def by_torchjd(model: MultiTaskModel, batch: Batch, aggregator: Aggregator, joint: bool, chunk: int | None) -> Step:
    """The loop of TorchJD's documentation, after a forward pass of each part or a joint one of all rows."""
    optimizer, losses = _begun(model, batch, joint)
    shared = list(model.sharing.parameters())

    def step(number: int) -> None:  # noqa: ARG001  # all sides take the same
        optimizer.zero_grad(set_to_none=True)
        found, features = losses()
        mtl_backward(found, features=features, parallel_chunk_size=chunk)
        jac_to_grad(shared, aggregator)
        optimizer.step()

    return step


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
    Theirs("a pass a part, chunk size 1", partial(by_torchjd, joint=False, chunk=1)),
    Theirs("a pass a part, default", partial(by_torchjd, joint=False, chunk=None)),
    Theirs("a joint pass, chunk size 1", partial(by_torchjd, joint=True, chunk=1)),
    Theirs("a joint pass, default", partial(by_torchjd, joint=True, chunk=None)),
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


def same_gradients(work: Work, way: Theirs) -> float:
    """How far apart the two sides' gradients are after one step, relative to the largest."""
    (mine, tasks, batch), (its, _, _) = work.made(), work.made()
    by_mtl(mine, tasks, batch, "fixed", "upgrad")(0)
    way.make(its, batch, UPGrad())(0)
    pairs = [(p.grad, q.grad) for p, q in zip(mine.parameters(), its.parameters(), strict=True)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs if a is not None and b is not None)


def torchjd_side(work: Work, way: Theirs) -> Step:
    """By TorchJD."""
    model, _, batch = work.made()
    return way.make(model, batch, UPGrad())


def measure(told: Told) -> Found:
    """Three numbers of tasks; beside a loop that TorchJD does not have, too."""
    for count, turns in TURNS.items():
        work = Work("cnn", count, ROWS // count, told.device, apart=True)
        label = best({way.name: partial(torchjd_side, work, way) for way in WAYS}, told)
        (way,) = [way for way in WAYS if way.name == label]
        if (apart := same_gradients(work, way)) > FURTHEST:
            raise SystemExit(
                f"both sides should have the same gradients. Found {apart:.0e} between them at T = {count}"
            )
        mine = partial(mtl_side, work, "fixed", "upgrad")
        others = {its.name: partial(torchjd_side, work, its) for its in (way, BY_HAND)}
        with standing([mine, *others.values()], told) as steps:
            first, *times = by_turns(steps, turns, told)
        for peer, its, bar in zip(others, times, (BARS[count], None), strict=True):
            yield row(f"one task per sample, T = {count}", f"TorchJD, {peer}", first, its, bar)
