"""A few steps of real training of every strategy on every backbone: what tests look at afterwards."""

import copy
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import ResNet, VisionTransformer
from torchvision.models.resnet import BasicBlock

from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.aggregation.options import AGGREGATIONS
from mtl_cli.backbones import pieces
from mtl_cli.backbones.base import Backbone, BackboneFactory, Spec
from mtl_cli.backbones.cutting import plan
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.contracts import LossFacts
from mtl_cli.data.base import Batch, InputSpec, Part, Preparation
from mtl_cli.look import Look
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.shipping.verify import Live
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.options import HEADS
from mtl_cli.training.engine import Engine, Settings
from mtl_cli.training.graph import usage
from mtl_cli.training.methods import Methods
from mtl_cli.training.optimizer import build_optimizer
from mtl_cli.training.options import OPTIMIZERS
from mtl_cli.weighting import base as weighting_base
from mtl_cli.weighting.options import WEIGHTINGS
from tests.options import build, default, make_task

SHAPES = {
    "mlp": (3, 4, 4),
    "cnn": (3, 8, 8),
    "resnet18_cifar": (3, 16, 16),
    "resnet": (3, 32, 32),
    "vit": (3, 32, 32),
}
"""Of an image, by the backbone that reads it."""
TARGETS = {
    "classification": (torch.arange(8) % 3, ("low", "mid", "high")),
    "binary": (torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]), ("no", "yes")),
    "regression": (torch.arange(8) * 10.0 + 900.0, ()),
}
TASKS = ("type", "train", "forward")
"""One of each kind, with names of a module's own attributes."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "hard-split": ("hard", {"split_at": "stage1"}),
    "tree-branched": ("tree", {"branches": {"stage2": [["type", "forward"], ["train"]]}}),
    "ltb-two-nodes": ("ltb", {"nodes": 2}),
    "soft-trace-norm": ("soft", {"distance": "trace_norm"}),
    "cross_stitch-by-stage": ("cross_stitch", {"per_channel": False}),
    "mmoe-gates-at": ("mmoe", {"gate_at": "stage1"}),
    "dselect_k-by-sample": ("dselect_k", {"by_sample": True}),
    "ple-three-levels": ("ple", {"levels": 3, "gate_at": "stage1"}),
    "lora-shared": ("lora", {"shared_rank": 2, "at": ["stage2"]}),
}
"""Other options of a strategy, on the cnn, where they make it compute something else."""
STEPS, EARLY, LATE = 10, 2, 8


class Pieces(Backbone):
    """A network of torchvision in the pieces that its graph is cut into."""

    def __init__(self, whole: nn.Module) -> None:
        cut = plan(copy.deepcopy(whole).to("meta").eval(), 32)
        assert cut is not None
        bodies, neck = pieces.cut(whole, cut, repeat=False)
        super().__init__(bodies, neck, Spec(cut.width, cut.specs))


def backbone(name: str) -> Backbone:
    """A small network of that name, or a whole one."""
    given = InputSpec(SHAPES[name])
    found: Backbone
    match name:
        case "vit":
            return Pieces(VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32))
        case "resnet":
            return Pieces(ResNet(BasicBlock, [1, 1, 1, 1]))
        case "mlp":
            found = build(BACKBONES, "mlp", given, hidden=[7, 6])
        case "cnn":
            found = build(BACKBONES, "cnn", given, channels=4, depth=2)
        case _:
            found = build(BACKBONES, name, given)
    return found


class Toy(NamedTuple):
    """Everything that takes a step."""

    model: MultiTaskModel
    tasks: dict[str, Task]
    engine: Engine
    shape: tuple[int, ...]

    def images(self, step: int, rows: int = 8) -> Tensor:
        """Of that step."""
        return torch.randn(rows, *self.shape, generator=torch.Generator().manual_seed(step))

    def batch(self, step: int) -> Batch:
        """Every task with a label for every row; a part each, where the strategy wants that."""
        targets = {name: TARGETS[kind][0] for name, kind in zip(TASKS, TARGETS, strict=True)}
        of = self.model.part_of
        parts = []
        for i, part in enumerate(dict.fromkeys(of.values())):
            its = {name: target for name, target in targets.items() if of[name] == part}
            parts.append(Part(part, self.images(100 * i + step), its, dict.fromkeys(its, 8)))
        return Batch(parts)

    def steps(self, first: int, last: int) -> None:
        """Takes those steps of STEPS."""
        for step in range(first, last):
            assert isinstance(self.engine.step([self.batch(step)], step, STEPS), Look)

    def state(self) -> dict[str, Any]:
        """A copy of all that a checkpoint has of model and optimizer."""
        return copy.deepcopy({"model": self.model.state_dict(), "optimizer": self.engine.optimizer.state_dict()})

    def live(self) -> Live:
        """As shipping wants it; each part is normalised in its own way."""
        parts = dict.fromkeys(self.model.part_of.values())
        preparations = {
            part: Preparation((120.0 - 9 * i, 90.0, 60.0), (60.0, 50.0, 40.0 + i), 0, False)
            for i, part in enumerate(parts)
        }
        return Live(self.model, self.tasks, preparations)


@cache
def tasks_of_each_kind() -> dict[str, Task]:
    """Fitted; they have no state."""
    return {task: make_task(task, kind, *TARGETS[kind]) for task, kind in zip(TASKS, TARGETS, strict=True)}


def start(name: str, network: str) -> Toy:
    """A strategy with its defaults, or a variant, on a backbone, before the first step."""
    torch.manual_seed(0)
    strategy, changes = VARIANTS.get(name, (name, {}))
    option = default(SHARINGS, strategy, **changes)
    kind = SHARINGS.target(option)
    tasks = tasks_of_each_kind()
    sharing: Sharing = kind(option, BackboneFactory(backbone(network)), {n: t.width for n, t in tasks.items()})
    heads = {n: build(HEADS, "linear", sharing.spec(n), t.width, "head") for n, t in tasks.items()}
    part_of = {task: task if kind.data_set_a_task else "p" for task in TASKS}
    model = MultiTaskModel(sharing, heads, part_of, per_part=True)
    weighting = weighting_base.make(
        default(WEIGHTINGS, "fixed"), {n: LossFacts(1.0, t.loss.gaussian) for n, t in tasks.items()}
    )
    methods = Methods(weighting, aggregation_base.make(default(AGGREGATIONS, "sum"), list(TASKS)), {})
    optimizer = default(OPTIMIZERS, "adamw")
    stepper = build_optimizer(optimizer, OPTIMIZERS.target(optimizer), model, sharing.groups())
    shape = SHAPES[network]
    used = usage(model, {part: torch.zeros(2, *shape) for part in part_of.values()})
    return Toy(model, tasks, Engine(model, tasks, methods, stepper, used, Settings(0, None, None)), shape)


class Course(NamedTuple):
    """A training of STEPS steps: how it ended, its state after EARLY and LATE ones, and what had a gradient by then."""

    toy: Toy
    early: dict[str, Any]
    late: dict[str, Any]
    reached: frozenset[str]


@lru_cache(maxsize=1)
def course(name: str, network: str) -> Course:
    """The training of a strategy on a backbone, made once for tests that follow one another; nobody may move it."""
    toy = start(name, network)
    states: dict[int, dict[str, Any]] = {}
    reached: set[str] = set()
    for step in range(STEPS):
        toy.steps(step, step + 1)
        reached |= {n for n, p in toy.model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        if step + 1 in (EARLY, LATE):
            states[step + 1] = toy.state()
    return Course(toy, states[EARLY], states[LATE], frozenset(reached))
