"""Rows of tasks that each have a part of their own, by one backward pass: weight gradients part by part."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_cli.training.layers import Layer

NEAR = 1e-4
"""How far numbers may be apart by rounding, relative to the largest."""


def put_rows(
    layer: Layer, gradient: Tensor, sizes: Sequence[int], weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> None:
    """Writes a layer's share of each part's row, from the gradient of its output and the inputs that it saw.

        g_p = D_p^T A_p, of the bias D_p^T 1,  over the samples of part p

    D: the output gradient of the sum of all losses. A: the inputs, of a convolution what its kernel sees.

    Args:
        sizes: each part's samples, in the order of the layer's inputs.
        weights, biases: each part's place for them, flat; no biases: the layer has none.
    """
    times = len(gradient) // max(sum(sizes), 1)  # a linear layer sees each position of a sequence as a row
    rows = [size * times for size in sizes]
    for place, inputs, output in zip(weights, layer.inputs.split(rows), gradient.split(rows), strict=True):
        _put(layer, place, inputs, output)
    if biases:
        sums_NF = gradient if gradient.dim() == 2 else gradient.sum((2, 3))
        for place, output in zip(biases, sums_NF.split(rows), strict=True):
            torch.sum(output, 0, out=place)


def _put(layer: Layer, place: Tensor, inputs: Tensor, output: Tensor) -> None:
    if layer.convolution is None:
        torch.mm(output.T, inputs, out=place.view(layer.size.fan_out, layer.size.fan_in))
        return
    found = layer.weight_gradient(inputs, output)
    place.view(found.shape).copy_(found)


def agree(
    layers: Sequence[Layer], losses: Sequence[Tensor], sizes: Sequence[int], parameters: Mapping[str, Tensor]
) -> bool:
    """Whether `put_rows` gives the parts' rows as they are: a layer may not have its inputs sample by sample.

    Args:
        losses: of each part; goes through their graph, which it lets go.
        parameters: those of the layers, by name.
    """
    if not layers:
        return True
    rows = [_gradients(loss, parameters) for loss in losses]
    edges: list[Any] = [layer.edge for layer in layers]  # torch takes them, but is typed for tensors
    given = torch.autograd.grad(torch.stack(list(losses)).sum(), edges, allow_unused=True)
    return all(_agrees(layer, gradient, sizes, rows) for layer, gradient in zip(layers, given, strict=True))


def near(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are the same but for rounding."""
    return bool((first - second).abs().max() <= NEAR * second.abs().max())


def _agrees(layer: Layer, gradient: Tensor | None, sizes: Sequence[int], rows: Sequence[Mapping[str, Tensor]]) -> bool:
    if gradient is None or len(gradient) % sum(sizes):
        return False
    wanted = [[row[name].flatten() for row in rows] for name in (layer.weight, layer.bias) if name is not None]
    found = [[torch.empty_like(row_P) for row_P in its] for its in wanted]
    put_rows(layer, gradient, sizes, found[0], found[1] if layer.bias is not None else [])
    return all(near(*pair) for its in zip(found, wanted, strict=True) for pair in zip(*its, strict=True))


def _gradients(loss: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    sought = list(parameters.values())
    found = torch.autograd.grad(loss, sought, retain_graph=True, allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))
