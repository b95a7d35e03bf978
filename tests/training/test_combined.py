"""Independent gradients that are only added up come from one backward pass, and the step is the same by it."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from mtl_cli.aggregation.base import Aggregation, build
from mtl_cli.data.base import Batch
from mtl_cli.training.engine import Reason, Skipped
from mtl_cli.training.faults import Faults
from mtl_cli.training.gradients import Gradients
from mtl_cli.training.methods import Methods, Wants
from tests.training.shares import by_norm, by_part
from tests.training.test_every_pair import fits
from tests.training.test_layers import spoiled
from tests.training.toys import ROWS, SHARING, Data, Toy, furthest, make, make_data, make_model, make_tasks

ALL = slice(0, ROWS)
THIRDS = {"sdmgrad": {}, "modo": {"pieces": 3}}


def method(name: str) -> Aggregation:
    """One that adds up the gradients of the third part."""
    return build(name, list(make_data().targets), **THIRDS[name]).aggregation


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each task's backward passes."""
    taken: list[str] = []
    add = Gradients._add_task
    monkeypatch.setattr(
        Gradients, "_add_task", lambda self, task, *rest, **more: (taken.append(task), add(self, task, *rest, **more))
    )
    return taken


def with_rows(toy: Toy, steps: Sequence[list[Batch]]) -> dict[str, torch.Tensor]:
    """What its steps come to where every part has rows."""
    wants = Methods.wants

    def asked(self: Methods, *given: Any) -> Wants:
        return wants(self, *given)._replace(combined=None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Methods, "wants", asked)
        return ends(toy, steps)


def ends(toy: Toy, steps: Sequence[list[Batch]]) -> dict[str, torch.Tensor]:
    """Parameters, statistics and the method's state after steps."""
    for number, batches in enumerate(steps):
        toy.step(batches, number)
    held = {**toy.parameters(), **dict(toy.model.named_buffers()), **toy.engine.methods.aggregation.state_dict()}
    return {name: tensor.detach().double() for name, tensor in held.items()}


def batches_of(data: Data) -> list[list[Batch]]:
    """A batch of uneven thirds, one in which a task has no label, and one more."""
    first, second = data.batch(slice(0, 11)), data.batch(slice(5, 15))
    (part,) = second.parts
    none = torch.full_like(part.targets["size"], torch.nan)
    bare = part._replace(targets={**part.targets, "size": none}, labelled={**part.labelled, "size": 0})
    return [[first], [Batch([bare])], [data.batch(ALL)]]


@pytest.mark.parametrize("name", THIRDS)
@pytest.mark.parametrize("sharing", [s for s in SHARING if fits(s, "fixed", "sdmgrad")])
def test_steps_are_those_of_rows_of_every_part(name: str, sharing: str, passes: list[str]) -> None:
    data = make_data()
    model = make_model(make_tasks(data), sharing, dropout=0.3 if sharing == "hard" else 0.0)
    one, other = (make(data, model=copy.deepcopy(model), weighting="uw", aggregation=method(name)) for _ in range(2))
    found = ends(one, batches_of(data))
    taken = len(passes)
    assert furthest(found, with_rows(other, batches_of(data))) < 1e-9
    assert furthest(found, ends(make(data, model=model, weighting="uw", aggregation=method(name)), [])) > 1e-3
    assert len(passes) - taken == taken + (3 + 2 + 3)


def test_so_it_is_with_batch_norm_and_with_float16s_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    (one, batch), (other, _) = (by_norm("hard", method("sdmgrad"), synchronised=True) for _ in range(2))
    assert furthest(ends(one, [batch] * 2), with_rows(other, [batch] * 2)) < 1e-9
    data = make_data()
    model = make_model(make_tasks(data))
    one, other = (make(data, model=copy.deepcopy(model), aggregation=method("sdmgrad")) for _ in range(2))
    for toy in (one, other):
        toy.engine.scale.on = True
    assert furthest(ends(one, batches_of(data)), with_rows(other, batches_of(data))) < 1e-9


def test_micro_batches_parts_and_who_looks_at_the_sum_as_well_have_rows(passes: list[str]) -> None:
    data = make_data(missing=False)
    make(data, aggregation=method("sdmgrad")).step([data.batch(slice(0, 12)), data.batch(slice(12, ROWS))], 0)
    assert len(passes) == 2 * 3 * 3
    toy, batches = by_part("hard", method("sdmgrad"))
    passes.clear()
    toy.step(batches, 0)
    assert len(passes) >= 3 * 3 - 1  # a part of one sample has no third
    passes.clear()
    make(data, weighting="gradnorm", aggregation=method("sdmgrad")).step([data.batch(ALL)], 0)
    assert len(passes) == 3 * 3


def test_what_is_told_of_all_gradients_is_told_by_those_that_are_seen() -> None:
    data = make_data(missing=False)
    looks = []
    for repeated in (False, True):
        third = data.batch(slice(0, 8)).parts[0]
        rows = torch.cat([third.inputs] * 3)
        targets = {name: torch.cat([target] * 3) for name, target in third.targets.items()}
        batch = Batch([third._replace(inputs=rows, targets=targets, labelled=dict.fromkeys(targets, 24))])
        looks.append(make(data, aggregation=method("sdmgrad") if repeated else "upgrad").step([batch], 0))
    first, second = (look.seen() for look in looks)
    assert first is not None
    assert second is not None
    torch.testing.assert_close(first[1], second[1])


def test_a_task_whose_labels_all_are_in_the_part_that_is_added_up_moves() -> None:
    data = make_data(missing=False)
    data.targets["odd"][:16] = torch.nan
    toy = make(data, aggregation=method("sdmgrad"))
    before = toy.parameters()
    look = toy.step([data.batch(ALL)], 0)
    assert look.weights_T[look.tasks.index("odd")] > 0
    assert furthest(before, toy.parameters()) > 0


def test_a_gradient_there_that_is_not_finite_is_named() -> None:
    data, calls = make_data(), list[int]()
    toy = make(data, aggregation=method("sdmgrad"), on_nonfinite="skip_step")

    def spoil_the_third(*told: Any) -> torch.Tensor | None:
        calls.append(len(told[-1]))
        return spoiled(told[-1]) if len(told[-1]) == ROWS or len(calls) == 3 else None

    toy.model.heads["task:odd"].register_forward_hook(spoil_the_third)
    before = toy.parameters()
    told = toy.engine.step([data.batch(ALL)], 0, 3)
    assert told == Skipped(Reason.NOT_FINITE, Faults(gradients=("odd",)))
    assert calls == [8, 8, 8, ROWS]
    assert furthest(before, toy.parameters()) == 0
