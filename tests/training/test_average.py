"""The moving average is the one of its formula, over weights and buffers."""

import pytest
import torch
from torch import nn

from mtl_cli.training.average import Average
from tests.training.toys import make_data, make_model, make_tasks


def small() -> nn.Module:
    """A toy with a buffer, as batch norm has."""
    model = make_model(make_tasks(make_data()))
    model.sharing.register_buffer("running", torch.zeros(2, dtype=torch.float64))
    return model


def moved(model: nn.Module, step: int) -> list[torch.Tensor]:
    """Sets all weights and buffers to what no other step has; gives copies."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
    return [tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())]


@pytest.mark.parametrize("resumed", [False, True])
def test_weights_and_buffers_follow_the_formula_step_by_step(resumed: bool) -> None:
    model = small()
    average = Average(model, 0.6)
    expected: list[torch.Tensor] = []
    for t in range(12):
        values = moved(model, t)
        decay = min(0.6, (1 + t) / (10 + t))
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, values, strict=True)] if t else values
        average.move()
        if resumed and t == 5:
            kept, steps = average.model.state_dict(), average.steps
            average = Average(model, 0.6)
            average.model.load_state_dict(kept)
            average.goes_on(steps)
    for found, wanted in zip((*average.model.parameters(), *average.model.buffers()), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert average.model is not model


def test_without_a_decay_the_trained_weights_themselves_are_evaluated() -> None:
    model = small()
    average = Average(model, None)
    before = moved(model, 0)
    average.move()
    assert average.model is model
    assert all(torch.equal(a, b) for a, b in zip(before, (*model.parameters(), *model.buffers()), strict=True))
