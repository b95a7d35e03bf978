"""A balancing step with a data set for each task, beside TorchJD's on the same work: one process, interleaved.

The network has no batch norm, so a forward pass a part and one joint forward pass of all rows give the same gradients:
TorchJD is timed in each way, and the gradients are compared too. Prints a Markdown table of ratios of time a step,
median and quartiles; `make bench` runs it.
"""

import argparse
import copy
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchjd.aggregation import Aggregator, UPGrad
from torchjd.autojac import jac, jac_to_grad, mtl_backward

from bench.step import CLASSES, SHAPE, compare, make_tasks
from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.options import BACKBONES, Cnn
from mtl_cli.data.base import Batch, InputSpec, Part
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.options import SHARINGS, Hard
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.options import Linear
from mtl_cli.training.engine import Engine, Settings
from mtl_cli.training.graph import usage
from mtl_cli.training.methods import Methods
from mtl_cli.weighting import base as weighting_base

Step = Callable[[int], None]


class Theirs(NamedTuple):
    """One of TorchJD's ways: the name in the table, and what makes its step."""

    name: str
    make: Callable[[MultiTaskModel, Batch, Aggregator], Step]


def make_model(tasks: dict[str, Task]) -> MultiTaskModel:
    """The small CNN without norm, with a linear head for each task and a part for each."""
    option = Cnn(channels=32, depth=3, norm="none", freeze=None)
    sharing = SHARINGS.target(Hard(split_at=None))(
        Hard(split_at=None), BackboneFactory(BACKBONES.target(option)(option, InputSpec(SHAPE))), {}
    )
    heads = {n: LinearHead(Linear(at=None), sharing.spec(n), t.width, n) for n, t in tasks.items()}
    return MultiTaskModel(sharing, heads, {task: f"part of {task}" for task in tasks}, per_part=True)


def make_batch(tasks: Sequence[str], rows: int) -> Batch:
    """So many rows of each task's own images."""
    parts = [
        Part(f"part of {task}", torch.randn(rows, *SHAPE), {task: torch.randint(0, CLASSES, (rows,))}, {task: rows})
        for task in tasks
    ]
    return Batch(parts)


def by_mtl(model: MultiTaskModel, tasks: dict[str, Task], batch: Batch, aggregation: str) -> Step:
    """The engine's step."""
    weighs = weighting_base.build("fixed", list(tasks)).weighting
    aggregates = aggregation_base.build(aggregation, list(tasks)).aggregation
    used = usage(model, {part.name: part.inputs[:2] for part in batch.parts})
    settings = Settings(0, None, half=None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    engine = Engine(model, tasks, Methods(weighs, aggregates, {}), optimizer, used, settings)

    def step(number: int) -> None:
        engine.step([batch], number, 1000)

    return step


def by_hand(model: MultiTaskModel, batch: Batch) -> Step:
    """The plain sum of the losses after one joint forward pass, one backward pass: what a step costs at least."""
    optimizer, losses = _begun(model, batch, joint=True)

    def step(number: int) -> None:  # noqa: ARG001  # all sides take the same
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses()[0]).sum().backward()
        optimizer.step()

    return step


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
    Theirs("`jac` by hand, a graph a task", a_graph_a_task),
)


def _begun(
    model: MultiTaskModel, batch: Batch, joint: bool
) -> tuple[torch.optim.Optimizer, Callable[[], tuple[list[Tensor], list[Tensor]]]]:
    """An optimizer, and what computes the losses and the features that they are read from."""
    backbone = model.sharing.backbone
    assert isinstance(backbone, nn.Module)
    targets = [(model.heads[f"task:{t}"].layers, y) for part in batch.parts for t, y in part.targets.items()]
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
    by_mtl(mine, tasks, batch, "upgrad")(0)
    way.make(its, batch, UPGrad())(0)
    pairs = [(p.grad, q.grad) for p, q in zip(mine.parameters(), its.parameters(), strict=True)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs if a is not None and b is not None)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[4, 10, 40])
    parser.add_argument("--rows", type=int, default=120, help="of all parts together")
    parser.add_argument("--pairs", type=int, nargs="+", default=[30, 12, 6])
    told = parser.parse_args()
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    print(
        f"CNN without norm, 32-64-128, {told.rows} rows in all, upgrad; {threads} threads, torch {torch.__version__}.\n"
    )
    print("| tasks | beside | mtl's step over it, median | quartiles | the other, ms | gradients apart |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count, pairs in zip(told.tasks, told.pairs, strict=True):
        tasks = make_tasks(count)
        batch = make_batch(list(tasks), told.rows // count)
        model = make_model(tasks)
        for way in WAYS:
            mine, its = (
                by_mtl(copy.deepcopy(model), tasks, batch, "upgrad"),
                way.make(copy.deepcopy(model), batch, UPGrad()),
            )
            apart = f"{same_gradients(model, tasks, batch, way):.0e}"
            print(f"| {count} | TorchJD, {way.name} | {_measured(mine, its, pairs)} | {apart} |", flush=True)
        for name in ("upgrad", "sum"):
            mine, plain = by_mtl(copy.deepcopy(model), tasks, batch, name), by_hand(copy.deepcopy(model), batch)
            line = f"the plain sum by hand, a joint pass{'' if name == 'upgrad' else '; mtl with sum'}"
            print(f"| {count} | {line} | {_measured(mine, plain, pairs)} | |", flush=True)


def _measured(mine: Step, its: Step, pairs: int) -> str:
    ratios, each = compare(mine, its, pairs)
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} | {low:.3f} to {high:.3f} | {each:.0f}"


if __name__ == "__main__":
    main()
