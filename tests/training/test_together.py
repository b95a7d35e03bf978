"""All parts in one forward pass: only where each gets what a pass of its own gives it; nothing else changes by it."""

import copy
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn

from mtl_cli.aggregation.base import WeightedAggregation
from mtl_cli.backbones.base import Backbone, BackboneFactory
from mtl_cli.backbones.cnn import CnnBackbone
from mtl_cli.backbones.options import Cnn
from mtl_cli.beneath import CONF
from mtl_cli.contracts import Needs
from mtl_cli.data.base import MISSING, Batch, InputSpec
from mtl_cli.look import Look
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.options import Linear
from mtl_cli.training.average import Average
from mtl_cli.training.choices import choices
from mtl_cli.training.engine import Engine, Reason, Skipped
from mtl_cli.training.faults import Faults
from mtl_cli.training.graph import usage
from mtl_cli.training.options import TrainerOptions
from mtl_cli.training.row_places import RowPlaces
from mtl_cli.training.together import APART, Together
from tests.training.test_parts import SHAPE, SIZES, Rows, apart, engine, made
from tests.training.toys import AGGREGATION, SHARING, furthest

TASKS = sorted(SIZES)


def after(batches: list[Batch], aggregation: Any, together: bool, **told: Any) -> tuple[dict[str, Tensor], Engine]:
    """The parameters after a step of each."""
    taken = engine(batches[0], aggregation, together=together, **told)
    for number, batch in enumerate(batches):
        assert isinstance(taken.step([batch], number, 9), Look)
    return {name: parameter.detach() for name, parameter in taken.model.named_parameters()}, taken


@pytest.mark.parametrize("name", AGGREGATION)
def test_steps_are_those_of_a_pass_a_part(name: str) -> None:
    batch = apart()
    fewer = Batch([part._replace(targets={t: y.clone() for t, y in part.targets.items()}) for part in batch.parts[:2]])
    fewer.parts[0].targets["birds"][::2] = MISSING
    (one, _), (other, _) = (after([batch, fewer], made(name), together) for together in (True, False))
    assert furthest(one, other) < 1e-12


@pytest.mark.parametrize("sizes", [SIZES, {"birds": 1, "trees": 1}], ids=str)
def test_rows_and_gramian_are_too(sizes: dict[str, int]) -> None:
    seen, seen_apart = Rows(), Rows()
    after([apart(sizes)], seen, together=True)
    after([apart(sizes)], seen_apart, together=False)
    torch.testing.assert_close(seen.rows_TP, seen_apart.rows_TP, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(seen.gramian_TT, seen_apart.gramian_TT, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("aggregation", [Rows, lambda: made("sum")], ids=["balanced", "plain"])
def test_all_rows_go_through_at_once_forwards_and_backwards(aggregation: Callable[[], Any]) -> None:
    batch = apart(dict.fromkeys("abcdefgh", 3))
    taken = engine(batch, aggregation(), together=True)
    passed: list[int] = []

    def watch(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.register_hook(lambda gradient: passed.append(len(gradient)))

    next(iter(taken.model.sharing.backbone.stages.children())).register_forward_hook(watch)
    taken.step([batch], 0, 9)
    assert passed == [24]


class Even(WeightedAggregation):
    """Looks at the Gramian alone, and sums."""

    needs = Needs(level="gramian")

    def weights(self, look: Look) -> Tensor:
        look.gramian()
        return torch.ones(len(look.tasks), dtype=torch.float64)


class Layered(nn.Module):
    """Scales what a layer puts out by a parameter of no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.scale


class InTurn(nn.Module):
    """A layer that sees all samples at one position, then all at the next."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.layer(features.permute(2, 3, 0, 1).flatten(0, 2))
        return found.view(*features.shape[2:], *features.shape[:2]).permute(2, 3, 0, 1)


class OfNone(nn.Module):
    """A layer that sees no sample, but as many rows as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 6)
        self.rows = torch.arange(12.0).view(6, 2)

    def forward(self, features: Tensor) -> Tensor:
        return features * self.layer(self.rows).sum(0)[:, None, None]


class Noisy(nn.Module):
    """Draws in training."""

    def forward(self, features: Tensor) -> Tensor:
        return features + torch.randn_like(features) if self.training else features


class Centred(nn.Module):
    """A sample sees the others."""

    def forward(self, features: Tensor) -> Tensor:
        return features - features.mean(0)


class Case(NamedTuple):
    """A network, and what may be said of it."""

    norm: str
    more: type[nn.Module] | None
    sharing: str
    expected: Together


CASES = {
    "layers alone": Case("none", None, "hard", Together(alike=True, layered=True)),
    "a parameter of no layer": Case("none", Layered, "hard", Together(alike=True, layered=False)),
    "a layer position by position": Case("none", InTurn, "hard", Together(alike=True, layered=False)),
    "a layer of no sample": Case("none", OfNone, "hard", Together(alike=True, layered=False)),
    "batch norm": Case("batch", None, "hard", APART),
    "draws": Case("none", Noisy, "hard", APART),
    "the mean of all": Case("none", Centred, "hard", APART),
    "features of each task": Case("none", None, "mmoe", APART),
    "heads that read one another": Case("none", None, "task_relation", Together(alike=True, layered=False)),
}


def network(norm: Any, more: type[nn.Module] | None) -> Backbone:
    backbone = CnnBackbone(Cnn(channels=3, depth=2, norm=norm, freeze=None), InputSpec(SHAPE))
    if more is not None:
        backbone.stages["stage2"].append(more())  # type: ignore[operator]  # a stage is a Sequential
    return backbone


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_it_is_tried_before_it_is_done_and_leaves_no_trace(case: Case) -> None:
    option = SHARING[case.sharing]
    torch.manual_seed(0)
    widths = dict.fromkeys(TASKS, 3)
    sharing = SHARINGS.target(option)(option, BackboneFactory(network(case.norm, case.more)), widths)
    heads = {task: LinearHead(Linear(at=None), sharing.spec(task), 3, task) for task in TASKS}
    model = MultiTaskModel(sharing, heads, {task: f"{task} data" for task in TASKS}, per_part=False)
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    examples = {part.name: torch.zeros(2, *SHAPE) for part in apart().parts}  # as a run gives them
    assert usage(model, examples).together == case.expected
    assert furthest(before, model.state_dict()) == 0
    assert torch.equal(drawn, torch.get_rng_state())


def test_inputs_of_other_shapes_do_not_go_together() -> None:
    taken = engine(apart(), made("sum"))
    examples = {part.name: part.inputs[:2] for part in apart().parts}
    taller = {**examples, "birds data": torch.randn(2, 1, 12, 8, dtype=torch.float64)}
    assert usage(taken.model, examples).together.alike
    assert usage(taken.model, taller).together == APART


def test_a_layer_that_no_active_task_reaches_has_zeros_in_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    take = RowPlaces.take
    monkeypatch.setattr(RowPlaces, "take", lambda *told: take(*told).fill_(torch.nan))
    at = {"birds": "stage1", "trees": "stage1"}
    seen, batch = [Rows(), Rows()], apart({**SIZES, "shells": 2})
    for rows, together in zip(seen, (True, False), strict=True):
        taken = engine(batch, rows, together=together, at=at)
        taken.step([Batch(batch.parts[:2])], 0, 9)
    torch.testing.assert_close(seen[0].rows_TP, seen[1].rows_TP, rtol=1e-9, atol=1e-13)
    assert float(seen[0].rows_TP.norm()) > 0
    assert (seen[0].rows_TP == 0).all(0).any()


def test_a_layer_that_is_no_longer_what_was_tried_has_its_rows() -> None:
    seen, batch = [Rows(), Rows()], apart()
    for rows, together in zip(seen, (True, False), strict=True):
        taken = engine(batch, rows, together=together)
        next(taken.model.sharing.parameters()).register_hook(lambda gradient: 2 * gradient)
        taken.step([batch], 0, 9)
    torch.testing.assert_close(seen[0].rows_TP, seen[1].rows_TP, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", ["modo", "sdmgrad"])
def test_independent_pieces_are_those_of_a_pass_a_part(name: str) -> None:
    for sizes in (SIZES, {"birds": 3, "trees": 1}, {"birds": 1, "trees": 1}):  # of the last, pieces have no row
        (one, _), (other, _) = (after([apart(sizes)], made(name), together) for together in (True, False))
        assert furthest(one, other) < 1e-12


@pytest.mark.parametrize("name", ["sum", "upgrad", "pcgrad", "db"])
def test_the_part_whose_gradients_are_not_finite_is_named(name: str) -> None:
    batch = apart()
    batch.parts[1].inputs[0] = torch.inf
    taken = engine(batch, made(name), together=True)
    told = taken.step([batch], 0, 9)
    assert told == Skipped(Reason.NOT_FINITE, Faults(losses=("trees",)))


def test_a_row_whose_square_overflows_is_no_fault_of_its_task() -> None:
    batch = apart()
    taken = engine(batch, Even(), together=True)
    with torch.no_grad():
        taken.model.heads_by_task()["birds"].get_parameter("layers.weight").mul_(1e200)
    told = taken.step([batch], 0, 9)
    assert isinstance(told, Look)
    assert told.norms()[0] == torch.inf


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_run_chooses_where_both_may_be_had(norm: Literal["none", "batch"]) -> None:
    trainer = yaml.safe_load((CONF / "trainer" / "default.yaml").read_text())
    taken = engine(apart(), made("sum"), norm=norm)
    found = choices(msgspec.convert(trainer, TrainerOptions), taken, Average(taken.model, None), lambda: 100)
    offered = {choice.name: choice for choice in found}
    assert ("parts" in offered) == (norm == "none")
    for candidate in offered["parts"].candidates if "parts" in offered else ():
        offered["parts"].apply(candidate)
        assert taken.passes.together == (candidate == "together")
