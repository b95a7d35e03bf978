"""Rows of parts out of one backward pass: autograd's, whatever the layer, and known where they would not be."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from mtl_cli.training.layers import Layer, find
from mtl_cli.training.part_rows import agree, put_rows

SIZES = [3, 0, 2]
MAPS = (4, 6, 5)
LAYERS = {
    "a convolution": (nn.Conv2d(4, 6, 3), MAPS),
    "in groups, with gaps": (nn.Conv2d(4, 6, 2, stride=2, padding=1, dilation=2, groups=2), MAPS),
    "without a bias": (nn.Conv2d(4, 6, (1, 3), padding="same", bias=False), MAPS),
    "a linear layer": (nn.Linear(4, 6), (4,)),
    "linear, of sequences": (nn.Linear(4, 6), (7, 4)),
}


def passed(module: nn.Module, inputs: Tensor, sizes: Sequence[int]) -> tuple[Layer, list[Tensor], dict[str, Tensor]]:
    """The layer, each part's loss of it, and its parameters."""
    losses = [found.square().sum() for found in module(inputs).split(list(sizes))]
    parameters: dict[str, Tensor] = dict(module.named_parameters())
    (layer,) = find(losses, dict(module.named_parameters()))
    return layer, losses, parameters


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_rows_are_those_of_each_part_alone(name: str, layout: torch.memory_format) -> None:
    module, shape = LAYERS[name]
    inputs = torch.randn(sum(SIZES), *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=layout)
    layer, losses, parameters = passed(module.double(), inputs, SIZES)
    wanted = [torch.autograd.grad(loss, list(parameters.values()), retain_graph=True) for loss in losses]
    (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), [layer.edge])  # type: ignore[list-item]  # torch takes it
    found = [[torch.full((p.numel(),), torch.nan, dtype=p.dtype) for _ in SIZES] for p in parameters.values()]
    put_rows(layer, gradient, SIZES, found[0], found[1] if len(found) > 1 else [])
    for part, row in enumerate(wanted):
        for own, other in zip(found, row, strict=True):
            torch.testing.assert_close(own[part], other.flatten(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("sizes", "expected"), [([3, 2], True), ([2, 3], False)])
def test_it_is_known_whether_they_are(sizes: list[int], expected: bool) -> None:
    layer, losses, parameters = passed(nn.Linear(4, 6).double(), torch.randn(5, 4, dtype=torch.float64), [3, 2])
    assert agree([layer], losses, sizes, parameters) == expected
