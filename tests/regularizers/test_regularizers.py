"""Penalties by hand, in value and gradient."""

import pytest
import torch
from torch import nn

from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError
from mtl_cli.regularizers.base import Held
from mtl_cli.regularizers.options import REGULARIZERS
from tests.options import build, default

A, B, BIAS = [[1.0, -2.0], [0.5, 4.0]], [[3.0, 0.0], [0.0, 0.0]], [-3.0]
"""The hidden layers of the heads of tasks a and b, and a bias that they share."""
NAME = "heads.{}.layers.0.weight"
ROOTS = torch.tensor([1 + 0.25 + 9, 4 + 16]).sqrt()
"""The norms of both inputs' weights over both tasks."""
GRAM_A = torch.tensor([[5.0, -7.5], [-7.5, 16.25]]) - torch.eye(2)
GRAM_B = torch.tensor([[9.0, 0.0], [0.0, 0.0]]) - torch.eye(2)
BY_HAND = {
    "l1": (13.5, torch.tensor(A).sign(), torch.tensor(B).sign(), -torch.ones(1)),
    "l2": (0.5 * 39.25, torch.tensor(A), torch.tensor(B), torch.tensor(BIAS)),
    "group_lasso": (float(ROOTS.sum()), torch.tensor(A) / ROOTS, torch.tensor(B) / ROOTS, None),
    "orthogonality": (
        float(GRAM_A.square().sum() + GRAM_B.square().sum()),
        4 * GRAM_A @ torch.tensor(A),
        4 * GRAM_B @ torch.tensor(B),
        None,
    ),
    "mtrl": (0.5 * 2 * 30.25, 2 * torch.tensor(A), 2 * torch.tensor(B), None),  # Omega is I / 2
}
"""At a weight of 1."""


def held() -> Held:
    """With heads' last layers in place of what is left out: of another shape, or zero."""
    a, b, bias = (nn.Parameter(torch.tensor(values)) for values in (A, B, BIAS))
    last = {"a": torch.zeros(3, 0), "b": torch.zeros(2, 0)}
    own = {
        task: {NAME.format(slot(task)): hidden, f"heads.{slot(task)}.layers.2.weight": nn.Parameter(last[task])}
        for task, hidden in (("a", a), ("b", b))
    }
    return Held({"shared.bias": bias}, own)


def made(name: str, weight: float) -> tuple[torch.Tensor, list[nn.Parameter]]:
    """The penalty, and the three parameters."""
    its = held()
    regularizer = build(REGULARIZERS, name, weight=weight)
    regularizer.begin(its)
    hidden = [its.own[task][NAME.format(slot(task))] for task in its.own]
    return regularizer.penalty(its), [*hidden, its.shared["shared.bias"]]


@pytest.mark.parametrize("name", list(REGULARIZERS))
def test_value_and_gradient_by_hand(name: str) -> None:
    value, *gradients = BY_HAND[name]
    penalty, parameters = made(name, 0.1)
    assert penalty.item() == pytest.approx(0.1 * value)
    for found, expected in zip(torch.autograd.grad(penalty, parameters, allow_unused=True), gradients, strict=True):
        if expected is None:
            assert found is None
        else:
            torch.testing.assert_close(found, 0.1 * expected)


@pytest.mark.parametrize("name", list(REGULARIZERS))
def test_a_weight_of_nought_holds_nothing_down(name: str) -> None:
    penalty, parameters = made(name, 0.0)
    assert penalty.item() == 0
    gradients = torch.autograd.grad(penalty, parameters, allow_unused=True)
    assert all(g is None or bool((g == 0).all()) for g in gradients)


@pytest.mark.parametrize("name", list(REGULARIZERS))
def test_a_negative_weight_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"regularizer.weight=-1.0 is not valid: expected .*at least 0"):
        default(REGULARIZERS, name, weight=-1.0)


def test_the_group_lasso_lets_go_of_channels_and_keeps_inputs_of_another_number_apart() -> None:
    convolution = nn.Parameter(torch.tensor([[[[3.0]], [[0.0]]], [[[4.0]], [[2.0]]]]))  # (out, in, 1, 1)
    wide = nn.Parameter(torch.tensor([[6.0, 0.0, 8.0]]))
    its = Held(
        {"c": convolution},
        {"a": {f"h.{slot('a')}": nn.Parameter(torch.tensor([[1.0]]))}, "b": {f"h.{slot('b')}": wide}},
    )
    penalty = build(REGULARIZERS, "group_lasso", weight=1.0).penalty(its)
    assert penalty.item() == pytest.approx(5 + 2 + 1 + 6 + 0 + 8)
    assert not bool(torch.autograd.grad(penalty, wide)[0].isnan().any())


def test_wide_and_tall_matrices_are_orthogonal_by_their_smaller_side() -> None:
    tall = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    for matrix in (tall, nn.Parameter(tall.detach().T.clone())):
        its = Held({"m": matrix}, {})
        assert build(REGULARIZERS, "orthogonality", weight=1.0).penalty(its).item() == 0
