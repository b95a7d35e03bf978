"""A layer's part of the Gramian and of the combined gradient, from its inputs and the tasks' output gradients."""

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.nn import functional

from mtl_cli.gramian import CHUNK, products_of
from mtl_cli.training.graph import Usage
from mtl_cli.training.layers import Layer, find, pays


def cheaper(losses: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter], usage: Usage) -> list[Layer]:
    """The layers of that pass, all their parameters shared, for which the way pays."""
    shared = {name: parameters[name] for name in usage.shared}
    users = Counter(name for task in losses for name in usage.of[task])
    return [layer for layer in find(losses.values(), shared) if pays(layer.size, users[layer.weight])]


class Layers:
    """Of one pass, the layers that no row holds. Args: found: those. tasks: how many rows there are."""

    def __init__(self, found: Sequence[Layer], tasks: int) -> None:
        self._all = [LayerGramian(layer, tasks) for layer in found]
        self.names = frozenset(name for layer in self._all for name in layer.names)
        """Of their parameters."""

    def edges(self, reached: frozenset[str]) -> list[GradientEdge]:
        """Where output gradients arrive, of the layers whose weight is among those reached."""
        return [layer.layer.edge for layer in self._of(reached)]

    def put(self, task: int, reached: frozenset[str], gradients: Sequence[Tensor | None]) -> None:
        """One task's gradients at those edges."""
        for layer, gradient in zip(self._of(reached), gradients, strict=True):
            if gradient is not None:
                layer.put(task, gradient)

    def put_all(self, gradients: Sequence[Tensor | None]) -> None:
        """All tasks' gradients at the edges of all layers, whose first dimension is the tasks'."""
        for layer, gradient in zip(self._all, gradients, strict=True):
            if gradient is not None:
                layer.put_all(gradient)

    def products(self) -> list[Tensor]:
        """What sums up to the Gramian over all of their parameters. Shapes: (chunks, T, T) each"""
        return [product for layer in self._all for product in layer.products()]

    def combined(self, factors_T: Tensor) -> dict[str, Tensor]:
        """sum_t factor_t g_t, by the parameters' names. Shapes: (T,) -> the parameters'"""
        found = [zip(layer.names, layer.combined(factors_T), strict=True) for layer in self._all]
        return {name: gradient for pairs in found for name, gradient in pairs}

    def _of(self, reached: frozenset[str]) -> list["LayerGramian"]:
        return [layer for layer in self._all if layer.layer.weight in reached]


class LayerGramian:
    """Keeps a layer's output gradients D_t of T tasks; no task's weight gradient D_t^T A is ever formed.

    <g_i, g_j> = <D_i, (A A^T) D_j>;  sum_t w_t g_t = (sum_t w_t D_t)^T A;  of the bias g_t = D_t^T 1

    A: the layer's inputs at its N positions, of a convolution what its kernel sees there; each group by itself.

    Shapes: A (N, fan_in), D_t (N, fan_out)
    """

    def __init__(self, layer: Layer, tasks: int) -> None:
        self.layer = layer
        size = layer.size
        self._outputs_TFN = layer.inputs.new_zeros(tasks, size.groups * size.fan_out, size.positions)

    @property
    def names(self) -> list[str]:
        """Of its parameters."""
        return [self.layer.weight] if self.layer.bias is None else [self.layer.weight, self.layer.bias]

    def put(self, task: int, gradient: Tensor) -> None:
        """One task's gradient of the layer's output. Shapes: (N, fan_out), or maps (B, fan_out, H, W)"""
        _put(self._outputs_TFN[task : task + 1], gradient[None])

    def put_all(self, gradients: Tensor) -> None:
        """All tasks'. Shapes: (T, N, fan_out), or (T, B, fan_out, H, W)"""
        _put(self._outputs_TFN, gradients)

    def products(self) -> list[Tensor]:
        """What sums up to the Gramian over the weight and the bias. Shapes: (chunks, T, T) each"""
        size, outputs_TFN = self.layer.size, self._outputs_TFN
        found: list[Tensor] = []
        step = max(1, CHUNK // size.positions)
        for group, inputs_DN in enumerate(_seen(self.layer)):
            products_NN = inputs_DN.T @ inputs_DN
            begin, end = group * size.fan_out, (group + 1) * size.fan_out
            for start in range(begin, end, step):
                some = outputs_TFN[:, start : min(start + step, end)]
                found += products_of(some.flatten(1), (some @ products_NN).flatten(1))
        if self.layer.bias is not None:
            sums_TF = outputs_TFN.sum(2)
            found += products_of(sums_TF, sums_TF)
        return found

    def combined(self, factors_T: Tensor) -> list[Tensor]:
        """sum_t factor_t g_t of each of its parameters. Shapes: (T,) -> the parameters'"""
        layer, outputs_TFN = self.layer, self._outputs_TFN
        outputs_FN = (factors_T.to(outputs_TFN) @ outputs_TFN.flatten(1)).view(outputs_TFN.shape[1:])
        found = [outputs_FN @ layer.inputs if layer.convolution is None else _weight_gradient(layer, outputs_FN)]
        return found if layer.bias is None else [*found, outputs_FN.sum(1)]


def _put(place_TFN: Tensor, gradients: Tensor) -> None:
    turned = gradients.transpose(1, 2)
    place_TFN.view(turned.shape).copy_(turned)


def _seen(layer: Layer) -> Sequence[Tensor]:
    """What each group's weight is multiplied with at every position. Shapes: (fan_in, N) a group"""
    how = layer.convolution
    if how is None:
        return [layer.inputs.T]
    columns_BDN = functional.unfold(layer.inputs, how.kernel, how.dilation, how.padding, how.stride)
    return columns_BDN.transpose(0, 1).flatten(1).chunk(how.groups)


def _weight_gradient(layer: Layer, outputs_FN: Tensor) -> Tensor:
    assert layer.convolution is not None
    high, wide = layer.convolution.maps(layer.inputs.shape[2:])
    maps = outputs_FN.view(len(outputs_FN), len(layer.inputs), high, wide).transpose(0, 1)
    return layer.weight_gradient(layer.inputs, maps)
