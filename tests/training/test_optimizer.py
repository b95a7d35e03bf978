"""The run's optimizer takes fused kernels, and moves what torch's plain loops would have moved."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_cli.training.optimizer import build_optimizer, lay_alike
from mtl_cli.training.options import OPTIMIZERS
from tests.options import default

NAMES = tuple(OPTIMIZERS)
FORMS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def made(form: str = "contiguous") -> nn.Module:
    """Two convolutions, a norm and a linear layer, in float64."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 2), nn.Flatten(), nn.Linear(5, 2))
    return layers.double().to(memory_format=FORMS[form])


def gradient(parameter: Tensor, step: int) -> Tensor:
    """The same numbers however the parameter lies; a gradient lies as autograd's rows do, or turned."""
    drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step), dtype=parameter.dtype)
    return drawn.t().contiguous().t() if drawn.dim() == 2 else drawn


def plain(name: str, model: nn.Module) -> Optimizer:
    """torch's own loop over the same groups, one tensor after the other."""
    option: Any = default(OPTIMIZERS, name)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": option.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    names = ("momentum", "nesterov") if name == "sgd" else ("betas", "eps")
    settings = {key: getattr(option, key) for key in names}
    kind: Callable[..., Optimizer] = OPTIMIZERS.target(option)
    return kind(groups, lr=option.lr, foreach=False, fused=False, **settings)


def fused(name: str, model: nn.Module) -> Optimizer:
    """A run's."""
    option = default(OPTIMIZERS, name)
    return build_optimizer(option, OPTIMIZERS.target(option), model, [])


def move(model: nn.Module, optimizer: Optimizer, steps: range) -> None:
    """Steps in which the last layer has no gradient before the third, and the norm none in every second."""
    for step in steps:
        for k, parameter in enumerate(model.parameters()):
            waits = (k >= 6 and step < 2) or (k in (2, 3) and step % 2 == 1)
            parameter.grad = None if waits else gradient(parameter, 10 * step + k)
        optimizer.step()


def furthest(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("name", NAMES)
def test_fused_steps_are_the_plain_ones_however_weights_and_gradients_lie(name: str, form: str) -> None:
    one, other = made(), made(form)
    move(one, plain(name, one), range(5))
    optimizer = fused(name, other)
    assert all(group["fused"] for group in optimizer.param_groups)
    move(other, optimizer, range(5))
    assert furthest(one, other) < 1e-12
    assert furthest(one, made()) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_laid_out_anew_keep_their_momenta(name: str) -> None:
    one, other = made(), made()
    move(one, plain(name, one), range(6))
    optimizer = fused(name, other)
    for step in range(6):
        other.to(memory_format=FORMS["channels_last" if step % 2 else "contiguous"])
        lay_alike(optimizer)
        move(other, optimizer, range(step, step + 1))
    assert furthest(one, other) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_was_saved_by_plain_loops_goes_on_fused(name: str) -> None:
    one, other = made(), made()
    before = plain(name, one)
    move(one, before, range(3))
    state = copy.deepcopy(before.state_dict())
    for group in state["param_groups"]:
        group["fused"], group["foreach"] = None, None
    other.load_state_dict(one.state_dict())
    after = fused(name, other)
    after.load_state_dict(state)
    assert all(group["fused"] for group in after.param_groups)
    assert state["param_groups"][0]["fused"] is None
    move(one, before, range(3, 6))
    move(other, after, range(3, 6))
    assert furthest(one, other) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_fused_steps_repeat_themselves_to_the_last_bit(name: str) -> None:
    ends = []
    for _ in range(2):
        model = made("channels_last")
        move(model, fused(name, model), range(5))
        ends.append(model)
    assert furthest(*ends) == 0
