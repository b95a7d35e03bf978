"""Steps under a loss scale are the steps without it; one that overflows moves nothing."""

import pytest
import torch
from torch import Tensor

from mtl_cli.look import Look
from mtl_cli.training.engine import Reason, Skipped
from mtl_cli.training.scale import GROW_AFTER, START, LossScale
from mtl_cli.weighting.fixed import FixedWeighting
from mtl_cli.weighting.options import Fixed
from tests.training.test_engine import AtLastStage, AtTrunk, Penalised
from tests.training.test_every_pair import ALONE, parameters
from tests.training.toys import (
    AGGREGATION,
    ROWS,
    facts,
    furthest,
    make,
    make_data,
    make_model,
    make_tasks,
)

ALL = slice(0, ROWS)
HALF = torch.float16
"""Autocast leaves float64 alone, so that what is left to see of float16 is its scale."""


@pytest.mark.parametrize(("sharing", "weighting", "aggregation"), parameters(*ALONE))
def test_the_scale_is_undone_in_every_gradient(sharing: str, weighting: str, aggregation: str) -> None:
    data = make_data()
    whole = make(data, sharing=sharing, weighting=weighting, aggregation=aggregation)
    scaled = make(data, sharing=sharing, weighting=weighting, aggregation=aggregation, half=HALF)
    for step in range(3):
        whole.step([data.batch(ALL)], step)
        scaled.step([data.batch(ALL)], step)
    assert furthest(whole.parameters(), scaled.parameters()) < 1e-12


@pytest.mark.parametrize("aggregation", ["sum", AtTrunk(), AtLastStage()], ids=["sum", "trunk", "last stage"])
def test_the_scale_is_undone_at_a_cheaper_place_and_in_penalties(aggregation: object) -> None:
    data = make_data()
    tasks = make_tasks(data)
    ends = []
    for half in (None, HALF):
        toy = make(data, aggregation=aggregation, tasks=tasks, model=make_model(tasks, wrap=Penalised), half=half)
        toy.engine.step([data.batch(ALL)], 0, 1)
        ends.append(toy.parameters())
    assert furthest(*ends) < 1e-12


class Counting(FixedWeighting):
    """Moves its state before the step, as a method with running means may."""

    def __init__(self, option, tasks):
        super().__init__(option, tasks)
        self.register_buffer("seen", torch.zeros(()))

    def before_step(self, look: Look) -> None:
        self.seen += 1


@pytest.mark.parametrize("aggregation", list(AGGREGATION))
def test_an_overflow_skips_the_step_halves_the_scale_and_moves_no_state(aggregation: str) -> None:
    data = make_data()
    data.inputs.mul_(1e3)  # so that even float64 overflows below
    tasks = make_tasks(data)
    model = make_model(tasks)
    model.register_buffer("passes", torch.zeros(()))
    weighting = Counting(Fixed(), facts(tasks))
    toy = make(data, weighting=weighting, aggregation=aggregation, tasks=tasks, model=model, half=HALF)
    toy.model.sharing.register_forward_pre_hook(lambda *_: _add_one(toy.model.passes))
    toy.engine.step([data.batch(ALL)], 0, 3)
    before, methods, passes = toy.parameters(), state(toy.engine.methods), toy.model.passes.clone()
    toy.engine.scale.value = 1e308
    skipped = toy.engine.step([data.batch(ALL)], 1, 3)
    assert isinstance(skipped, Skipped)
    assert skipped.reason is Reason.OVERFLOW
    assert furthest(before, toy.parameters()) == 0
    assert furthest(methods, state(toy.engine.methods)) == 0
    assert toy.engine.scale.value == 5e307
    assert toy.model.passes == passes > 0
    toy.engine.scale.value = START
    assert isinstance(toy.engine.step([data.batch(ALL)], 2, 3), Look)
    assert methods["weighting.seen"] == 1
    assert state(toy.engine.methods)["weighting.seen"] == 2


def _add_one(buffer: Tensor) -> None:
    buffer += 1


def state(methods) -> dict[str, Tensor]:
    both = {"weighting": methods.weighting, "aggregation": methods.aggregation}
    return {f"{kind}.{k}": v.clone() for kind, module in both.items() for k, v in module.state_dict().items()}


def test_the_scale_doubles_after_steps_enough_without_an_overflow_and_is_restored() -> None:
    scale = LossScale(on=True)
    for _ in range(GROW_AFTER - 1):
        scale.went_well()
    assert scale.value == START
    again = LossScale(on=True)
    again.load_state_dict(scale.state_dict())
    again.went_well()
    assert again.value == 2 * START
    assert scale.overflowed()
    assert scale.value == START / 2
    for _ in range(GROW_AFTER - 1):
        scale.went_well()
    assert scale.value == START / 2


def test_the_tenth_overflow_in_a_row_is_no_longer_the_scales_fault_also_after_a_resume() -> None:
    scale = LossScale(on=True)
    assert [scale.overflowed() for _ in range(5)] == [True] * 5
    again = LossScale(on=True)
    again.load_state_dict(scale.state_dict())
    assert [again.overflowed() for _ in range(5)] == [True] * 4 + [False]
    assert again.value == START / 2**9
    scale.went_well()
    assert [scale.overflowed() for _ in range(10)] == [True] * 9 + [False]


def test_without_float16_nothing_is_scaled() -> None:
    scale = LossScale(on=False)
    assert not scale.overflowed()
    tensor = torch.ones(3)
    assert scale.up(tensor) is tensor
    assert scale.down(tensor) is tensor
    assert scale.value == START
