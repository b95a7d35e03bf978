"""Each weighting with each aggregation: steps of a small model in float64."""

from typing import Any

import pytest
import torch

from mtl_cli.backbones.statistics import NORMS
from mtl_cli.sharing.options import SHARINGS
from tests.training.toys import AGGREGATION, ROWS, SHARING, WEIGHTING, furthest, make, make_data, make_tasks

ALL = slice(0, ROWS)
CUTS = (slice(0, 6), slice(6, ROWS))
"""Uneven, and as the loader promises none is too small to be three independent parts of two rows."""

WEIGHTINGS_NEED = {name: make(make_data(), weighting=name).engine.methods.needs[0] for name in WEIGHTING}
AGGREGATIONS_NEED = {name: make(make_data(), aggregation=name).engine.methods.needs[1] for name in AGGREGATION}


def fits(sharing: str, weighting: str, aggregation: str) -> bool:
    """Whether the three go together; those that do not are refused, tests of the command line show."""
    mine, its = WEIGHTINGS_NEED[weighting], AGGREGATIONS_NEED[aggregation]
    kind = SHARINGS.target(SHARING[sharing])
    looks = [n for n in (mine, its) if n.level != "losses"]
    owners = mine.plain_step and its.level != "losses"
    return (
        not owners and not kind.data_set_a_task and all(kind.shares and (n.at != "trunk" or kind.trunk) for n in looks)
    )


def alone(weighting: str, aggregation: str) -> bool:
    """Whether one of the two does nothing."""
    return weighting == "fixed" or aggregation == "sum"


ALL_METHODS = ("hard", "cross_stitch", "cgc")
"""All shared by all, a network each, and what some tasks share: under these every method runs by default."""
SOME_METHODS = (("fixed", "sum"), ("uw", "pcgrad"), ("fixed", "excess_mtl"))
"""The plain step, a Gramian with learned weights, and rows: under every other sharing."""


def chosen(sharing: str, weighting: str, aggregation: str) -> bool:
    """Whether it runs by default: each pair under one sharing, each method alone under some, some under all."""
    if (weighting, aggregation) in SOME_METHODS or sharing == "hard":
        return True
    return sharing in ALL_METHODS and alone(weighting, aggregation)


def parameters(*triples: tuple[str, str, str]) -> list[Any]:
    """As pytest takes them; all but what is chosen are slow."""
    return [pytest.param(*t, marks=() if chosen(*t) else pytest.mark.slow, id="-".join(t)) for t in triples]


EVERY = [
    (s, w, a)
    for w in WEIGHTING
    for a in AGGREGATION
    for s in SHARING
    if fits(s, w, a) and (alone(w, a) or chosen(s, w, a))
]
"""Each method alone under every sharing, each pair under one, and some pairs under all."""


@pytest.mark.parametrize(("sharing", "weighting", "aggregation"), parameters(*EVERY))
def test_micro_batches_with_uneven_labels_take_the_step_of_the_whole_batch(
    sharing: str, weighting: str, aggregation: str
) -> None:
    data = make_data()
    whole, parts = (make(data, sharing=sharing, weighting=weighting, aggregation=aggregation) for _ in range(2))
    start = whole.parameters()
    for step in range(2 if alone(weighting, aggregation) else 1):
        whole.step([data.batch(ALL)], step)
        parts.step([data.batch(cut) for cut in CUTS], step)
    assert all(
        bool(torch.isfinite(tensor).all()) for tensor in (*whole.parameters().values(), *parts.parameters().values())
    )
    assert min(furthest(start, toy.parameters()) for toy in (whole, parts)) > 1e-3
    normed = any(isinstance(module, NORMS) for module in whole.model.modules())
    if AGGREGATIONS_NEED[aggregation].batches == 1 and not normed:  # else what is looked at together is another
        assert furthest(whole.parameters(), parts.parameters()) < 1e-9


ALONE = [(s, w, a) for s, w, a in EVERY if alone(w, a) or (w, a) in SOME_METHODS]


@pytest.mark.parametrize(("sharing", "weighting", "aggregation"), parameters(*ALONE))
def test_a_task_without_labels_leaves_its_own_parameters_without_a_gradient(
    sharing: str, weighting: str, aggregation: str
) -> None:
    data = make_data()
    data.targets["odd"].fill_(torch.nan)
    tasks = make_tasks(make_data())
    toy = make(data, sharing=sharing, weighting=weighting, aggregation=aggregation, tasks=tasks)
    assert toy.step([data.batch(ALL)], 0).tasks == ("digit", "size")
    own = set(toy.engine.usage.own["odd"])
    assert own
    for name, parameter in toy.model.named_parameters():
        assert (parameter.grad is None) == (name in own), name
