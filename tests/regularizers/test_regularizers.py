"""Penalties by hand, in value and gradient."""

import pytest
import torch
from torch import nn

from mtl_cli.options import ConfigError
from mtl_cli.regularizers.options import REGULARIZERS
from tests.options import build, default

FIRST, SECOND = [[1.0, -2.0], [0.5, 4.0]], [-3.0]
BY_HAND = {
    "l1": (0.1 * 10.5, 0.1 * torch.tensor([[1.0, -1.0], [1.0, 1.0]]), 0.1 * torch.tensor([-1.0])),
    "l2": (0.05 * 30.25, 0.1 * torch.tensor(FIRST), 0.1 * torch.tensor(SECOND)),
}


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor(FIRST)), nn.Parameter(torch.tensor(SECOND))]


@pytest.mark.parametrize("name", list(REGULARIZERS))
def test_value_and_gradient_by_hand(name: str) -> None:
    value, *gradients = BY_HAND[name]
    held = parameters()
    penalty = build(REGULARIZERS, name, weight=0.1).penalty(held)
    assert penalty.item() == pytest.approx(value)
    for found, expected in zip(torch.autograd.grad(penalty, held), gradients, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", list(REGULARIZERS))
def test_a_weight_of_nought_holds_nothing_down(name: str) -> None:
    held = parameters()
    penalty = build(REGULARIZERS, name, weight=0.0).penalty(held)
    assert penalty.item() == 0
    assert all(bool((g == 0).all()) for g in torch.autograd.grad(penalty, held))


@pytest.mark.parametrize("name", list(REGULARIZERS))
def test_a_negative_weight_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"regularizer.weight=-1.0 is not valid: expected .*at least 0"):
        default(REGULARIZERS, name, weight=-1.0)
