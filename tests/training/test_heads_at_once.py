"""Many linear heads on one vector are one product in a plain step, and nothing else changes by it."""

import pytest
import torch
from torch import Tensor

from mtl_cli import model
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks import heads
from tests.training.test_every_pair import WEIGHTINGS_NEED, fits
from tests.training.toys import ROWS, SHARING, furthest, make, make_data

ALL = slice(0, ROWS)
ONE_VECTOR = ("hard", "low_rank", "tree")
"""Sharings of the toys whose tasks all read one; a tree does where it does not branch."""


def steps(at_once: bool, monkeypatch: pytest.MonkeyPatch, **told: str) -> tuple[dict[str, Tensor], int]:
    """The parameters after three steps, one with a task inactive, and how many products there were."""
    made = 0

    def counted(*given: object) -> object:
        nonlocal made
        found = heads.joined(*given)  # type: ignore[arg-type]  # what it is given goes on as it came
        made += found is not None
        return found

    monkeypatch.setattr(model, "MANY", 2 if at_once else 99)
    monkeypatch.setattr(model, "joined", counted)
    data = make_data()
    toy = make(data, **told)  # type: ignore[arg-type]  # a sharing, a weighting, an aggregation
    toy.step([data.batch(ALL)], 0, data)
    toy.step([data.batch(slice(0, 9)), data.batch(slice(9, ROWS))], 1, data)
    data.targets["odd"].fill_(torch.nan)
    toy.step([data.batch(ALL)], 2, data)
    return toy.parameters(), made


@pytest.mark.parametrize("weighting", [name for name in WEIGHTINGS_NEED if fits("hard", name, "sum")])
def test_plain_steps_are_those_of_a_product_a_head(weighting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = steps(at_once=True, monkeypatch=monkeypatch, weighting=weighting)
    each, none = steps(at_once=False, monkeypatch=monkeypatch, weighting=weighting)
    assert furthest(one, each) < 1e-12
    assert none == 0


@pytest.mark.parametrize("sharing", [name for name in SHARINGS if name in SHARING and fits(name, "fixed", "sum")])
def test_only_where_all_tasks_read_one_vector_and_no_head_reads_another(
    sharing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, made = steps(at_once=True, monkeypatch=monkeypatch, sharing=sharing)
    each, _ = steps(at_once=False, monkeypatch=monkeypatch, sharing=sharing)
    assert furthest(one, each) < 1e-12
    assert made == (4 if sharing in ONE_VECTOR else 0)


def test_a_step_that_goes_through_one_task_after_the_other_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert steps(at_once=True, monkeypatch=monkeypatch, aggregation="upgrad")[1] == 0
