"""A balancing step of mtl beside TorchJD's on the same model and batches: one process, interleaved.

Prints a Markdown table of ratios of time a step, median and quartiles; with `--settings` beside each of TorchJD's ways:
a backward pass a task (`parallel_chunk_size=1`), the same with Gramians summed parameter by parameter, its default (all
tasks in one, by vmap), and its Gramian engine. `make bench` runs it.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchjd.aggregation import Aggregator, GramianWeightedAggregator
from torchjd.autogram import Engine
from torchjd.autojac import jac_to_grad, mtl_backward

from bench.step import CLASSES, SHAPE, by_mtl, compare, make_model, make_tasks
from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.options import Resnet18Cifar
from mtl_cli.backbones.resnet import Resnet18CifarBackbone
from mtl_cli.data.base import Batch, InputSpec, Part
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.hard import HardSharing
from mtl_cli.sharing.options import Hard
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.options import Linear
from tests.aggregation.fidelity import METHODS, Steered

Step = Callable[[int], None]
Losses = Callable[[], tuple[Tensor, list[Tensor]]]


def aggregator_of(name: str, tasks: int) -> Aggregator | None:
    """TorchJD's, if it has that method."""
    make = METHODS[name].theirs
    found: nn.Module | None = None if make is None else make(tasks)
    while isinstance(found, Steered):
        found = found.inner
    return found if isinstance(found, Aggregator) else None


def by_rows(chunk: int | None, *, by_parameter: bool) -> Callable[[nn.Module, Losses, Aggregator], Callable[[], None]]:
    """The loop that TorchJD's documentation shows."""

    def make(backbone: nn.Module, losses: Losses, aggregator: Aggregator) -> Callable[[], None]:
        shared = list(backbone.parameters())

        def gradients() -> None:
            vector, found = losses()
            mtl_backward(found, features=vector, parallel_chunk_size=chunk)
            if by_parameter:
                assert isinstance(aggregator, GramianWeightedAggregator)
                jac_to_grad(shared, aggregator, optimize_gramian_computation=True)
            else:
                jac_to_grad(shared, aggregator)

        return gradients

    return make


def by_gramian(backbone: nn.Module, losses: Losses, aggregator: Aggregator) -> Callable[[], None]:
    """Its Gramian engine, then one backward pass of the weighted losses."""
    assert isinstance(aggregator, GramianWeightedAggregator)
    engine = Engine(backbone, batch_dim=None)

    def gradients() -> None:
        stacked_T = torch.stack(losses()[1])
        weights_T = aggregator.gramian_weighting(engine.compute_gramian(stacked_T))
        stacked_T.backward(weights_T)

    return gradients


SETTINGS = {
    "chunk size 1": by_rows(1, by_parameter=False),
    "chunk size 1, by parameter": by_rows(1, by_parameter=True),
    "default": by_rows(None, by_parameter=False),
    "Gramian engine": by_gramian,
}


def by_torchjd(
    model: MultiTaskModel, inputs: Tensor, targets: Mapping[str, Tensor], aggregator: Aggregator, setting: str
) -> Step:
    """A step of TorchJD's in one of its ways."""
    backbone = model.sharing.backbone
    assert isinstance(backbone, nn.Module)
    heads = {task: model.heads[f"task:{task}"].layers for task in targets}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()

    def losses() -> tuple[Tensor, list[Tensor]]:
        vector = backbone(inputs).vector
        return vector, [functional.cross_entropy(heads[task](vector), target) for task, target in targets.items()]

    gradients = SETTINGS[setting](backbone, losses, aggregator)

    def step(number: int) -> None:  # noqa: ARG001  # both sides take the same
        optimizer.zero_grad(set_to_none=True)
        gradients()
        optimizer.step()

    return step


def make_resnet(tasks: Mapping[str, Task]) -> MultiTaskModel:
    """ResNet-18 for small images with linear heads."""
    factory = BackboneFactory(Resnet18CifarBackbone(Resnet18Cifar(freeze=None), InputSpec(SHAPE)))
    sharing = HardSharing(Hard(split_at=None), factory, {})
    heads = {n: LinearHead(Linear(at=None), sharing.spec(n), t.width, n) for n, t in tasks.items()}
    return MultiTaskModel(sharing, heads, dict.fromkeys(tasks, "images"), per_part=True)


def main() -> None:
    """Prints the table."""
    names = [name for name in METHODS if " " not in name and aggregator_of(name, 2) is not None]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=["cnn", "resnet18"], default="cnn")
    parser.add_argument("--methods", nargs="+", choices=names, default=["pcgrad"])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=["chunk size 1", "default"])
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 10, 40])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pairs", type=int, nargs="+", default=[30, 12, 6])
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    told = parser.parse_args()
    clock = time.perf_counter if told.clock == "wall" else time.process_time
    torch.manual_seed(0)
    inputs = torch.randn(told.batch, *SHAPE)
    network = "CNN without norm, 32-64-128" if told.network == "cnn" else "ResNet-18 for small images"
    threads = torch.get_num_threads()
    print(f"{network}, batch {told.batch}, {threads} threads, {told.clock} time, torch {torch.__version__}.\n")
    print("| method | tasks | TorchJD's | mtl's step over it, median | quartiles | TorchJD, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count, pairs in zip(told.tasks, told.pairs, strict=False):
        tasks = make_tasks(count)
        targets = {task: torch.randint(0, CLASSES, (told.batch,)) for task in tasks}
        batch = Batch([Part("images", inputs, targets, dict.fromkeys(tasks, told.batch))])
        model = make_model(tasks, 32, norm="none") if told.network == "cnn" else make_resnet(tasks)
        for name in told.methods:
            for setting in told.settings:
                aggregator = aggregator_of(name, count)
                assert aggregator is not None
                mine = by_mtl(copy.deepcopy(model), tasks, batch, "fixed", name)
                its = by_torchjd(copy.deepcopy(model), inputs, targets, aggregator, setting)
                ratios, each = compare(mine, its, pairs, clock)
                low, middle, high = statistics.quantiles(ratios, n=4)
                line = f"| {name} | {count} | {setting} | {middle:.3f} | {low:.3f} to {high:.3f} | {each:.0f} |"
                print(line, flush=True)


if __name__ == "__main__":
    main()
