"""A step of mtl beside a plain hand-written loop: same model, same batch, one process, interleaved."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from bench.sides import Side, keeping, standing
from bench.turns import Found, Step, Told, by_turns, row
from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.beneath import packaged
from mtl_cli.commands.assemble import waits
from mtl_cli.data.base import Batch, InputSpec, Part
from mtl_cli.look import Look
from mtl_cli.model import MultiTaskModel
from mtl_cli.processes import Processes
from mtl_cli.sharing.options import SHARINGS, Hard
from mtl_cli.tasks.base import Fitted, Task
from mtl_cli.tasks.classification import ClassificationTask
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.losses import CrossEntropyLoss
from mtl_cli.tasks.options import Classification, CrossEntropy, Linear
from mtl_cli.training.choices import ways
from mtl_cli.training.engine import Engine, Settings
from mtl_cli.training.graph import usage
from mtl_cli.training.heap import keep_freed
from mtl_cli.training.methods import Methods
from mtl_cli.training.optimizer import build_optimizer
from mtl_cli.training.options import OPTIMIZERS
from mtl_cli.training.probing import Probes
from mtl_cli.training.progress import Totals
from mtl_cli.weighting import base as weighting_base

CLASSES = 10
SHAPE = (3, 32, 32)
THE_CNN: dict[str, Any] = {"norm": "none"}
"""What the cnn of these figures has other than its YAML: 32-64-128 channels without norm."""
ABOUT = (
    "A step with its totals, by the engine, beside a loop by hand: tasks of ten classes, AdamW, which mtl takes\n"
    "fused. The mlp has 128-128 units."
)
BAR = 1.03
PAIRS = {"cnn": 40, "resnet18_cifar": 12, "mlp": 100}
CHANGES = {"cnn": THE_CNN, "resnet18_cifar": {}, "mlp": {"hidden": [128, 128]}}


def make_tasks(count: int) -> dict[str, Task]:
    """So many classifications with ten classes."""
    loss = CrossEntropy(label_smoothing=0.0, class_weights=None)
    option = Classification(
        part=None, target="x", weight=1.0, head=Linear(at=None), loss=loss, metrics=["accuracy"], primary="accuracy"
    )
    fitted = Fitted(tuple(map(str, range(CLASSES))), 0.0, 1.0, (), {})
    names = [f"task{t}" for t in range(count)]
    return {name: ClassificationTask(name, option, fitted, CrossEntropyLoss(loss, ())) for name in names}


def make_model(backbone: str, tasks: dict[str, Task], apart: bool = False, **changes: Any) -> MultiTaskModel:
    """A backbone as its YAML has it but for `changes`, with linear heads; a part for all tasks, or for each."""
    torch.manual_seed(0)
    option = packaged(BACKBONES, backbone, changes)
    factory = BackboneFactory(BACKBONES.target(option)(option, InputSpec(SHAPE)))
    sharing = SHARINGS.target(Hard(split_at=None))(Hard(split_at=None), factory, {})
    heads = {n: LinearHead(Linear(at=None), sharing.spec(n), t.width, n) for n, t in tasks.items()}
    return MultiTaskModel(sharing, heads, {task: part_of(task, apart) for task in tasks}, per_part=True)


def make_batch(tasks: Sequence[str], rows: int, device: torch.device, apart: bool = False) -> Batch:
    """So many rows with a label for every task; or so many of each task's own."""
    torch.manual_seed(0)
    together = [[task] for task in tasks] if apart else [list(tasks)]
    return Batch([_part(names, rows, device, apart) for names in together])


def part_of(task: str, apart: bool) -> str:
    """The name of a task's part."""
    return f"part of {task}" if apart else "images"


def _part(tasks: list[str], rows: int, device: torch.device, apart: bool) -> Part:
    targets = {task: torch.randint(0, CLASSES, (rows,)).to(device) for task in tasks}
    return Part(part_of(tasks[0], apart), torch.randn(rows, *SHAPE).to(device), targets, dict.fromkeys(tasks, rows))


class Modules(NamedTuple):
    """What a loop by hand calls."""

    backbone: nn.Module
    heads: dict[str, nn.Module]


def modules(model: MultiTaskModel) -> Modules:
    """The backbone, and each task's layers."""
    heads = {task: head.get_submodule("layers") for task, head in model.heads_by_task().items()}
    return Modules(model.sharing.get_submodule("backbone"), heads)


def by_hand(model: MultiTaskModel, batch: Batch) -> Step:
    """The loop that one would write without a framework, for tasks of one input."""
    (part,) = batch.parts
    backbone, heads = modules(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()

    def step(number: int) -> None:  # noqa: ARG001  # both sides take the same
        optimizer.zero_grad(set_to_none=True)
        vector = backbone(part.inputs).vector
        losses = [functional.cross_entropy(heads[task](vector), target) for task, target in part.targets.items()]
        torch.stack(losses).sum().backward()
        optimizer.step()

    return step


def by_mtl(
    model: MultiTaskModel, tasks: dict[str, Task], batch: Batch, weighting: str, aggregation: str, **options: Any
) -> Step:
    """The engine's step, with what the loop does for each, in a process that is set up as a run's is."""
    device = next(model.parameters()).device
    if device.type == "cpu":
        keep_freed()
    weighs = weighting_base.build(weighting, list(tasks)).weighting.placed(device)
    aggregates = aggregation_base.build(aggregation, list(tasks), **options).aggregation
    option = packaged(OPTIMIZERS, "adamw", {"lr": 1e-3})
    optimizer = build_optimizer(option, OPTIMIZERS.target(option), model, weighs.groups())
    used = usage(model, {part.name: part.inputs[:2] for part in batch.parts})
    settings = Settings(0, None, half=None, read_later=waits(device))
    engine = Engine(model, tasks, Methods(weighs, aggregates, {}), optimizer, used, settings)
    _settle(engine, batch)
    totals = Totals(list(tasks))

    def step(number: int) -> None:
        look = engine.step([batch], number, 1000)
        assert isinstance(look, Look)
        totals.add(look)

    return step


def _settle(engine: Engine, batch: Batch) -> None:
    """Takes gradients as a run does that has tried in its first steps what is faster; on a CPU that is known."""
    if engine.device.type == "cpu":
        engine.passes.together = True
        return
    parts, said = (engine.model, engine.optimizer), list[str]()
    before = [copy.deepcopy(part.state_dict()) for part in parts]
    probes = Probes(ways(engine), said.append, Processes())
    while not probes.settled:
        probes.timed([batch], partial(engine.step, [batch], 0, 1000))
    for part, state in zip(parts, before, strict=True):
        part.load_state_dict(state)


class Work(NamedTuple):
    """What a step is of.

    tasks, rows: how many, in a batch. apart: whether each task has rows of its own. changes: what the backbone has
    other than its YAML.
    """

    backbone: str
    tasks: int
    rows: int
    device: torch.device
    apart: bool = False
    changes: tuple[tuple[str, Any], ...] = ()

    def made(self) -> tuple[MultiTaskModel, dict[str, Task], Batch]:
        """A network, its tasks and a batch: always the same."""
        tasks = make_tasks(self.tasks)
        batch = make_batch(list(tasks), self.rows, self.device, self.apart)
        model = make_model(self.backbone, tasks, self.apart, **(CHANGES[self.backbone] | dict(self.changes)))
        return model.to(self.device), tasks, batch


def mtl_side(work: Work, weighting: str, aggregation: str, **options: Any) -> Step:
    """By mtl."""
    return by_mtl(*work.made(), weighting, aggregation, **options)


def hand_side(work: Work) -> Step:
    """By hand."""
    model, _, batch = work.made()
    return by_hand(model, batch)


def measure(told: Told) -> Found:
    """The plain sum on three backbones, and weightings on the cnn."""
    named = [
        ("cnn", 3, "fixed", BAR),
        ("resnet18_cifar", 3, "fixed", BAR),
        ("cnn", 3, "uw", None),
        ("cnn", 3, "dwa", None),
        ("mlp", 3, "fixed", None),
        ("mlp", 40, "fixed", None),
    ]
    for backbone, count, weighting, bar in named:
        work = Work(backbone, count, 128, told.device)
        hand = partial(hand_side, work)
        peers: dict[str, Side] = {"by hand": hand, "by hand, freed memory kept": partial(keeping, hand)}
        mine = partial(mtl_side, work, weighting, "sum")
        with standing([mine, *peers.values()], told) as steps:
            first, *others = by_turns(steps, PAIRS[backbone], told)
        name = f"step, {backbone}, T = {count}, {'' if weighting == 'fixed' else f'{weighting} and '}sum"
        for peer, other, its in zip(peers, others, (bar, None), strict=True):
            yield row(name, peer, first, other, its)
