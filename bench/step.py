"""A step of mtl beside a plain hand-written loop: same model, same batches, one process, interleaved.

Prints a Markdown table of ratios of time a step, median and quartiles. `make bench` runs it.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.options import BACKBONES, Cnn
from mtl_cli.data.base import Batch, InputSpec, Part
from mtl_cli.look import Look
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.options import SHARINGS, Hard
from mtl_cli.tasks.base import Fitted, Task
from mtl_cli.tasks.classification import ClassificationTask
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.losses import CrossEntropyLoss
from mtl_cli.tasks.options import Classification, CrossEntropy, Linear
from mtl_cli.training.engine import Engine, Settings
from mtl_cli.training.graph import usage
from mtl_cli.training.methods import Methods
from mtl_cli.training.progress import Totals
from mtl_cli.weighting import base as weighting_base

CLASSES = 10
SHAPE = (3, 32, 32)
ROWS = (
    ("fixed + sum", "fixed", "sum"),
    ("uw + sum", "uw", "sum"),
    ("dwa + sum", "dwa", "sum"),
    ("fixed + pcgrad", "fixed", "pcgrad"),
    ("fixed + db", "fixed", "db"),
)


def make_tasks(count: int) -> dict[str, Task]:
    """So many classifications with ten classes."""
    loss = CrossEntropy(label_smoothing=0.0, class_weights=None)
    option = Classification(
        part=None, target="x", weight=1.0, head=Linear(at=None), loss=loss, metrics=["accuracy"], primary="accuracy"
    )
    fitted = Fitted(tuple(map(str, range(CLASSES))), 0.0, 1.0, (), {})
    names = [f"task{t}" for t in range(count)]
    return {name: ClassificationTask(name, option, fitted, CrossEntropyLoss(loss, ())) for name in names}


def make_model(tasks: dict[str, Task], channels: int, norm: Literal["batch", "none"] = "batch") -> MultiTaskModel:
    """The small CNN with linear heads."""
    option = Cnn(channels=channels, depth=3, norm=norm, freeze=None)
    factory = BackboneFactory(BACKBONES.target(option)(option, InputSpec(SHAPE)))
    sharing = SHARINGS.target(Hard(split_at=None))(Hard(split_at=None), factory, {})
    heads = {n: LinearHead(Linear(at=None), sharing.spec(n), t.width, n) for n, t in tasks.items()}
    return MultiTaskModel(sharing, heads, dict.fromkeys(tasks, "images"), per_part=True)


def by_hand(model: MultiTaskModel, inputs: Tensor, targets: dict[str, Tensor]) -> Callable[[int], None]:
    """The loop that one would write without a framework."""
    backbone = model.sharing.backbone
    heads = {task: model.heads[f"task:{task}"].layers for task in targets}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()

    def step(number: int) -> None:  # noqa: ARG001  # both sides take the same
        optimizer.zero_grad(set_to_none=True)
        vector = backbone(inputs).vector
        loss = sum(functional.cross_entropy(heads[t](vector), y) for t, y in targets.items())
        assert isinstance(loss, Tensor)
        loss.backward()
        optimizer.step()

    return step


def by_mtl(
    model: MultiTaskModel, tasks: dict[str, Task], batch: Batch, weighting: str, aggregation: str
) -> Callable[[int], None]:
    """The engine's step, with what the loop does for each."""
    weighs = weighting_base.build(weighting, list(tasks)).weighting
    aggregates = aggregation_base.build(aggregation, list(tasks)).aggregation
    optimizer = torch.optim.AdamW([*model.parameters(), *weighs.parameters()], lr=1e-3)
    used = usage(model, {part.name: part.inputs[:2] for part in batch.parts})
    engine = Engine(model, tasks, Methods(weighs, aggregates, {}), optimizer, used, Settings(0, None, half=None))
    totals = Totals(list(tasks), torch.device("cpu"))

    def step(number: int) -> None:
        look = engine.step([batch], number, 1000)
        assert isinstance(look, Look)
        totals.add(look)

    return step


def compare(
    first: Callable[[int], None],
    second: Callable[[int], None],
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], float]:
    """Ratios first / second of interleaved steps, and the second's median in milliseconds."""
    ratios, times = [], []
    for number in range(pairs + 3):
        order = (first, second) if number % 2 else (second, first)
        spent: dict[int, float] = {}
        for function in order:
            start = clock()
            function(number)
            spent[id(function)] = clock() - start
        if number >= 3:
            ratios.append(spent[id(first)] / spent[id(second)])
            times.append(spent[id(second)])
    return ratios, 1000 * statistics.median(times)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=40)
    told = parser.parse_args()
    torch.manual_seed(0)
    inputs = torch.randn(told.batch, *SHAPE)
    tasks = make_tasks(told.tasks)
    targets = {task: torch.randint(0, CLASSES, (told.batch,)) for task in tasks}
    batch = Batch([Part("images", inputs, targets, dict.fromkeys(tasks, told.batch))])
    model = make_model(tasks, told.channels)
    threads = torch.get_num_threads()
    print(f"Small CNN, batch {told.batch}, {told.tasks} tasks, {threads} threads, torch {torch.__version__}.")
    print(f"Repeat: `python -m bench.step {' '.join(f'--{k} {v}' for k, v in vars(told).items())}`\n")
    print("| mtl's step, over the hand-written one | ratio, median | quartiles | by hand, ms |")
    print("| --- | --- | --- | --- |")
    for name, weighting, aggregation in ROWS:
        mine = by_mtl(copy.deepcopy(model), tasks, batch, weighting, aggregation)
        ratios, each = compare(mine, by_hand(copy.deepcopy(model), inputs, targets), told.pairs)
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"| {name} | {middle:.3f} | {low:.3f} to {high:.3f} | {each:.1f} |", flush=True)


if __name__ == "__main__":
    main()
