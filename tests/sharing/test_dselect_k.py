"""DSelect-k: the smooth step, selectors and their penalty by hand, and what ships."""

import math
from typing import Any

import pytest
import torch

from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.sharing.selection import Selection, smooth_step
from tests.options import build
from tests.sharing.test_every_sharing import TASKS, factory, images, made, moved, used

THREE = dict.fromkeys(TASKS, 2)


def strategy(**changes: Any) -> Any:
    torch.manual_seed(1)
    return build(SHARINGS, "dselect_k", factory("map"), THREE, **changes).eval()


def decided(selection: Selection, codes: list[int]) -> Selection:
    """With each selector on one code."""
    bits = [[1.0 if code >> j & 1 else -1.0 for j in range(selection.z.shape[1])] for code in codes]
    with torch.no_grad():
        selection.z.copy_(torch.tensor(bits))
    return selection


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_the_smooth_step_is_a_cubic_between_zero_and_one_that_begins_and_ends_flat(gamma: float) -> None:
    at = torch.tensor([-2.0, -gamma / 2, -gamma / 4, 0.0, gamma / 4, gamma / 2, 2.0], requires_grad=True)
    value = smooth_step(at, gamma)
    torch.testing.assert_close(value, torch.tensor([0.0, 0.0, 5 / 32, 0.5, 27 / 32, 1.0, 1.0]))
    (slope,) = torch.autograd.grad(value.sum(), at)
    steepest = 1.5 / gamma
    torch.testing.assert_close(slope, torch.tensor([0.0, 0.0, 0.75, 1.0, 0.75, 0.0, 0.0]) * steepest)


def test_weights_are_a_convex_combination_of_selectors_over_binary_codes() -> None:
    selection = Selection(4, 2, 1.0, None)
    with torch.no_grad():
        selection.z.copy_(torch.tensor([[0.25, -0.25], [0.5, 0.1]]))
        selection.a.copy_(torch.tensor([0.0, 1.0]))
    low, high, some = 5 / 32, 27 / 32, float(smooth_step(torch.tensor(0.1), 1.0))
    first = [(1 - high) * (1 - low), high * (1 - low), (1 - high) * low, high * low]
    second = [0.0, 1 - some, 0.0, some]  # its first bit is decided
    share = 1 / (1 + math.e)
    weights, selectors = selection(torch.empty(1, 0))
    torch.testing.assert_close(selectors[0], torch.tensor([first, second]))
    expected = [share * p + (1 - share) * q for p, q in zip(first, second, strict=True)]
    torch.testing.assert_close(weights[0], torch.tensor(expected))
    assert float(weights.detach().sum()) == pytest.approx(1.0)


def test_decided_selectors_choose_exactly_k_experts() -> None:
    weights, _ = decided(Selection(8, 2, 1.0, None), [3, 6])(torch.empty(1, 0))
    assert weights[0].nonzero().flatten().tolist() == [3, 6]


def penalty_of(selection: Selection) -> float:
    return float(selection.penalty(selection(torch.empty(1, 0))[1]).detach())


def test_the_penalty_is_the_selectors_entropy_and_keeps_them_on_codes_of_experts() -> None:
    fair = Selection(4, 2, 1.0, None)
    with torch.no_grad():
        fair.z.zero_()
    assert penalty_of(fair) == pytest.approx(2 * math.log(4), rel=1e-4)
    sure = decided(Selection(4, 2, 1.0, None), [0, 3])
    assert penalty_of(sure) == pytest.approx(0.0, abs=1e-4)
    three = Selection(3, 1, 1.0, None)  # the fourth code is no expert
    with torch.no_grad():
        three.z.zero_()
    assert penalty_of(three) == pytest.approx(math.log(4) + 4 / 3, rel=1e-4)
    lost = decided(Selection(3, 1, 1.0, None), [3])
    assert penalty_of(lost) > 1e5


@pytest.mark.parametrize("by_sample", [False, True])
def test_each_task_mixes_experts_by_its_weights(by_sample: bool) -> None:
    sharing = moved(strategy(by_sample=by_sample))
    vector = sharing.stem(images()).vector
    outputs = [(vector @ e.layers[0].weight.T + e.layers[0].bias).clamp_min(0) for e in sharing.experts]
    for task, features in sharing(images(), TASKS).items():
        weights, _ = sharing.selections[slot(task)](vector)
        assert weights.shape[0] == (5 if by_sample else 1)
        torch.testing.assert_close(features.vector, sum(weights[:, e, None] * one for e, one in enumerate(outputs)))


def test_what_ships_for_a_task_runs_the_experts_that_it_selects_alone() -> None:
    sharing = moved(strategy())
    for task, codes in zip(TASKS, ([1, 2], [2, 5], [0, 0]), strict=True):
        decided(sharing.selections[slot(task)], codes)
    whole = sharing(images(), TASKS)
    for tasks, running in ((TASKS[:1], [1, 2]), (TASKS[1:], [0, 2, 5])):
        ready = sharing.ready(tasks)
        ran: list[int] = []
        hooks = [
            expert.register_forward_hook(lambda *_, e=e, ran=ran: ran.append(e))
            for e, expert in enumerate(ready.experts)
        ]
        for task, features in ready(images(), tasks).items():
            torch.testing.assert_close(features.vector, whole[task].vector)
        assert ran == running
        for hook in hooks:
            hook.remove()


def test_what_ships_of_selectors_that_are_on_no_expert_gives_what_training_saw() -> None:
    sharing = moved(strategy(experts=3))
    for task in TASKS:
        decided(sharing.selections[slot(task)], [3, 3])
    for task, features in sharing.ready(TASKS)(images(), TASKS).items():
        assert torch.equal(features.vector, torch.zeros_like(features.vector)), task


def test_stem_and_experts_are_shared_and_selections_are_a_tasks_own() -> None:
    found = used(made("dselect_k"))
    assert len(found.shared) == NETWORK_PARAMETERS + 8 * 2
    for task, own in found.own.items():
        assert {n for n in own if n.startswith("sharing.")} == {
            f"sharing.selections.{slot(task)}.{n}" for n in ("z", "a")
        }


NETWORK_PARAMETERS = len(list(factory("map")().parameters()))


def test_no_more_are_selected_than_there_are() -> None:
    with pytest.raises(ConfigError, match=r"^sharing.k=9 selects more than sharing.experts=8: take fewer$"):
        strategy(k=9)
