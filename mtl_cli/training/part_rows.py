"""Rows of tasks that each have a part of their own, by one backward pass: weight gradients part by part."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from mtl_cli.training.layers import Layer


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
    times = len(gradient) // sum(sizes)  # a linear layer sees each position of a sequence as a row
    rows = [size * times for size in sizes]
    for place, inputs, output in zip(weights, layer.inputs.split(rows), gradient.split(rows), strict=True):
        _put(layer, place, inputs, output)
    if biases:
        sums_NF = gradient if gradient.dim() == 2 else gradient.sum((2, 3))
        for place, output in zip(biases, sums_NF.split(rows), strict=True):
            torch.sum(output, 0, out=place)


def _put(layer: Layer, place: Tensor, inputs: Tensor, output: Tensor) -> None:
    how, size = layer.convolution, layer.size
    if how is None:
        torch.mm(output.T, inputs, out=place.view(size.fan_out, size.fan_in))
        return
    shape = (size.groups * size.fan_out, inputs.shape[1] // how.groups, *how.kernel)
    found = conv2d_weight(inputs, shape, output, how.stride, how.padding, how.dilation, how.groups)
    place.view(shape).copy_(found)
