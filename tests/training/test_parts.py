"""A data set for each task: each part's graph is gone through once, and what a joint forward pass would give."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.aggregation.base import Aggregation, WeightedAggregation
from mtl_cli.backbones.base import Backbone, BackboneFactory
from mtl_cli.backbones.cnn import CnnBackbone
from mtl_cli.backbones.mlp import MlpBackbone
from mtl_cli.backbones.options import Cnn, Mlp
from mtl_cli.contracts import Needs
from mtl_cli.data.base import MISSING, Batch, InputSpec, Part
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
from mtl_cli.weighting import base as weighting_base
from tests.training.toys import AGGREGATION, furthest

SIZES = {"birds": 9, "trees": 4, "stones": 6}
SHAPE = (1, 8, 8)
CLASSES = 3


class Rows(WeightedAggregation):
    """Keeps what it saw, and sums."""

    needs = Needs(level="rows")

    def weights(self, look: Look) -> Tensor:
        self.rows_TP, self.gramian_TT = look.rows(), look.gramian()
        return torch.ones(len(look.tasks), dtype=torch.float64)


def make_tasks(names: Sequence[str]) -> dict[str, Task]:
    loss = CrossEntropy(label_smoothing=0.0, class_weights=None)
    shared: dict[str, Any] = {"part": None, "target": "x", "weight": 1.0, "head": Linear(at=None), "loss": loss}
    option = Classification(metrics=["accuracy"], primary="accuracy", **shared)
    fitted = Fitted(tuple(map(str, range(CLASSES))), 0.0, 1.0, (), {})
    return {name: ClassificationTask(name, option, fitted, CrossEntropyLoss(loss, ())) for name in names}


def make_backbone(norm: Literal["batch", "none"], dropout: float) -> Backbone:
    if dropout:
        return MlpBackbone(Mlp(hidden=[7, 5], dropout=dropout, freeze=None), InputSpec(SHAPE))
    return CnnBackbone(Cnn(channels=3, depth=2, norm=norm, freeze=None), InputSpec(SHAPE))


def engine(
    batch: Batch,
    aggregation: Aggregation,
    norm: Literal["batch", "none"] = "none",
    dropout: float = 0.0,
    together: bool = False,
    at: Mapping[str, str | None] = MappingProxyType({}),
) -> Engine:
    """With the parts and tasks of a batch; the same weights whatever the parts. at: the stage that a head reads."""
    part_of = {task: part.name for part in batch.parts for task in part.targets}
    tasks = make_tasks(sorted(part_of))
    torch.manual_seed(3)
    sharing = SHARINGS.target(Hard(split_at=None))(
        Hard(split_at=None), BackboneFactory(make_backbone(norm, dropout)), {}
    )
    heads = {n: LinearHead(Linear(at=at.get(n)), sharing.spec(n), t.width, "head") for n, t in tasks.items()}
    model = MultiTaskModel(sharing, heads, {task: part_of[task] for task in tasks}, per_part=True).double()
    used = usage(model, {part.name: part.inputs[:2] for part in batch.parts})
    weighting = weighting_base.build("fixed", list(tasks)).weighting
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = Engine(model, tasks, Methods(weighting, aggregation, {}), optimizer, used, Settings(0, None, half=None))
    made.passes.together = together
    return made


def apart(sizes: dict[str, int] = SIZES) -> Batch:
    """A part a task, of unequal sizes."""
    generator = torch.Generator().manual_seed(5)
    parts = []
    for name, size in sizes.items():
        inputs = torch.randn(size, *SHAPE, generator=generator, dtype=torch.float64) + len(parts)
        target = torch.randint(0, CLASSES, (size,), generator=generator)
        parts.append(Part(f"{name} data", inputs, {name: target}, {name: size}))
    return Batch(parts)


def joined(batch: Batch) -> Batch:
    """The same rows as one part: each task has labels on its own rows alone."""
    sizes = [len(part.inputs) for part in batch.parts]
    targets, start = {}, 0
    for part, size in zip(batch.parts, sizes, strict=True):
        for task, target in part.targets.items():
            targets[task] = torch.full((sum(sizes),), MISSING)
            targets[task][start : start + size] = target
        start += size
    counts = {task: int((target != MISSING).sum()) for task, target in targets.items()}
    return Batch([Part("all", torch.cat([part.inputs for part in batch.parts]), targets, counts)])


def step(batches: Sequence[Batch], with_parts_of: Batch, aggregation: Aggregation, **told: Any) -> dict[str, Tensor]:
    """The parameters after one step."""
    made = engine(with_parts_of, aggregation, **told)
    assert isinstance(made.step(batches, 0, 9), Look)
    return {name: parameter.detach() for name, parameter in made.model.named_parameters()}


def made(name: str) -> Aggregation:
    return aggregation_base.make(AGGREGATION[name], sorted(SIZES))


def test_rows_gramian_and_step_are_those_of_a_joint_pass_without_batch_norm_and_dropout() -> None:
    batch, seen, seen_jointly = apart(), Rows(), Rows()
    after = step([batch], batch, seen)
    after_jointly = step([joined(batch)], joined(batch), seen_jointly)
    torch.testing.assert_close(seen.rows_TP, seen_jointly.rows_TP, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(seen.gramian_TT, seen_jointly.gramian_TT, rtol=1e-6, atol=1e-12)
    assert furthest(after, after_jointly) < 1e-12
    assert float(seen.rows_TP.norm(dim=1).min()) > 0.01


@pytest.mark.parametrize("told", [{"norm": "batch"}, {"dropout": 0.5}], ids=str)
def test_with_batch_norm_or_dropout_they_are_not(told: dict[str, Any]) -> None:
    batch, seen, seen_jointly = apart(), Rows(), Rows()
    step([batch], batch, seen, **told)
    step([joined(batch)], joined(batch), seen_jointly, **told)
    apart_by = (seen.rows_TP - seen_jointly.rows_TP).norm() / seen_jointly.rows_TP.norm()
    assert float(apart_by) > 0.05


@pytest.mark.parametrize("name", AGGREGATION)
def test_a_part_a_batch_and_a_step_of_all_of_them_is_a_step_of_one_batch_with_all_parts(name: str) -> None:
    batch = apart()
    in_turn = [Batch([part]) for part in batch.parts]
    assert furthest(step([batch], batch, made(name)), step(in_turn, batch, made(name))) < 1e-12


@pytest.mark.parametrize("name", AGGREGATION)
def test_a_part_without_any_label_leaves_the_step_to_the_others(name: str) -> None:
    batch = apart()
    first, *others = batch.parts
    blank = first._replace(targets={"birds": torch.full((9,), MISSING)}, labelled={"birds": 0})
    after = step([Batch([blank, *others])], batch, made(name))
    assert furthest(after, step([Batch(others)], batch, made(name))) == 0
    before = {name: p.detach() for name, p in engine(batch, made(name)).model.named_parameters()}
    assert torch.equal(after["heads.task:birds.layers.weight"], before["heads.task:birds.layers.weight"])
    assert not torch.equal(after["heads.task:trees.layers.weight"], before["heads.task:trees.layers.weight"])


def test_each_row_is_gone_through_backwards_once_whatever_the_number_of_tasks() -> None:
    batch = apart(dict.fromkeys("abcdefgh", 3))
    taken = engine(batch, Rows())
    passed: list[int] = []

    def watch(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.register_hook(lambda gradient: passed.append(len(gradient)))

    next(iter(taken.model.sharing.backbone.stages.children())).register_forward_hook(watch)
    taken.step([batch], 0, 9)
    assert passed == [3] * 8


class Held:
    """What a graph keeps for its backward pass, counted while it is there."""

    now = 0
    most = 0
    ever = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        Held.now += 1
        Held.ever += 1
        Held.most = max(Held.most, Held.now)

    def __del__(self) -> None:
        Held.now -= 1


def kept_by(taken: Engine, batch: Batch) -> tuple[int, int]:
    """How many tensors a step's graphs keep at once, at most, and in all."""
    Held.now = Held.most = Held.ever = 0
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda kept: kept.tensor):
        assert isinstance(taken.step([batch], 0, 9), Look)
    return Held.most, Held.ever


def test_a_parts_graph_is_let_go_before_the_next_parts_forward_pass() -> None:
    one, many = apart({"a": 3}), apart(dict.fromkeys("abcdefgh", 3))
    most_of_one, all_of_one = kept_by(engine(one, Rows()), one)
    most, ever = kept_by(engine(many, Rows()), many)
    assert ever > 7 * all_of_one
    assert most == most_of_one > 4
