"""Which layers' part of the Gramian costs less from inputs and output gradients than from rows."""

# ruff: noqa: SLF001  # torch tells under such names what a node of the graph keeps

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node
from torch.nn.grad import conv2d_weight

MOVED = 20
"""How many multiplications take as long as one number that is written or read."""


class Size(NamedTuple):
    """Of a layer on one batch: positions at which it is applied, and each group's inputs and outputs at a position."""

    positions: int
    fan_in: int
    fan_out: int
    groups: int = 1


class Convolution(NamedTuple):
    """How a convolution in two dimensions goes over its maps."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def maps(self, sides: Sequence[int]) -> tuple[int, int]:
        """Height and width of its outputs, from those of its inputs."""
        every = zip(sides, *self[:4], strict=True)
        high, wide = ((n + 2 * pad - gap * (k - 1) - 1) // step + 1 for n, k, step, pad, gap in every)
        return high, wide


class Layer(NamedTuple):
    """A linear layer or a convolution whose weight is used there alone in the pass, and its bias too.

    edge: where the gradient of its output arrives. inputs: (N, fan_in), or maps (B, C, H, W) of a convolution.
    """

    edge: GradientEdge
    weight: str
    bias: str | None
    inputs: Tensor
    size: Size
    convolution: Convolution | None

    def weight_gradient(self, inputs: Tensor, maps: Tensor) -> Tensor:
        """Of a convolution, from some samples' inputs and their output gradients. Shapes: the weight's"""
        how, size = self.convolution, self.size
        assert how is not None
        shape = (size.groups * size.fan_out, inputs.shape[1] // how.groups, *how.kernel)
        found: Tensor = conv2d_weight(inputs, shape, maps, how.stride, how.padding, how.dilation, how.groups)
        return found


def pays(size: Size, tasks: int) -> bool:
    """Whether that way takes fewer operations than rows do, and no more memory.

    Rows: T weight gradients, their inner products, each row written, copied and read. Else K = A A^T, the products of
    K with T output gradients, their inner products, one weight gradient.
    """
    positions, fan_in, fan_out, _ = size
    weights, outputs = fan_in * fan_out, positions * fan_out
    if tasks * outputs + positions**2 > tasks * weights:
        return False
    rows = tasks * positions * weights + tasks**2 * weights + MOVED * 5 * tasks * weights
    products = positions**2 * fan_in + tasks * positions * outputs + tasks**2 * outputs + positions * weights
    moved = 3 * positions * fan_in + 2 * positions**2 + 5 * tasks * outputs
    return products + MOVED * moved < rows


def find(roots: Iterable[Tensor], parameters: Mapping[str, nn.Parameter]) -> list[Layer]:
    """The layers of the graph behind `roots`, read from it.

    A layer under autocast, in a compiled or checkpointed piece, or whose weight is computed from parameters is none.
    """
    edges: Counter[Node] = Counter()
    seen: dict[Node, None] = {}
    stack = [root.grad_fn for root in roots if root.grad_fn is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen[node] = None
            behind = [following for following, _ in node.next_functions if following is not None]
            edges.update(behind)
            stack.extend(behind)
    graph = Graph({id(parameter): name for name, parameter in parameters.items()}, edges)
    found = [_layer(node, graph) for node in seen]
    return [layer for layer in found if layer is not None]


class Graph(NamedTuple):
    """Names of parameters by their ids, and how many edges lead to each node."""

    names: Mapping[int, str]
    edges: Mapping[Node, int]

    def leaf(self, node: Any) -> nn.Parameter | None:
        """The parameter that an edge leads to, where no other edge does, and no hook looks at its gradient."""
        if node is None or not node.name().endswith("AccumulateGrad") or self.edges[node] > 1:
            return None
        parameter: nn.Parameter = node.variable
        return parameter if id(parameter) in self.names and not parameter._backward_hooks else None

    def named(self, weight: nn.Parameter, bias: nn.Parameter | None) -> tuple[str, str | None]:
        """Their names."""
        return self.names[id(weight)], None if bias is None else self.names[id(bias)]


def _layer(node: Node, graph: Graph) -> Layer | None:
    kind = node.name()
    if kind == "ConvolutionBackward0":
        return _convolution(node, graph)
    return _linear(node, graph) if kind in ("AddmmBackward0", "MmBackward0") else None


def _convolution(node: Any, graph: Graph) -> Layer | None:
    _, to_weight, to_bias = (behind for behind, _ in node.next_functions)
    weight, bias = graph.leaf(to_weight), graph.leaf(to_bias)
    if weight is None or (to_bias is not None and bias is None):
        return None
    if node._saved_transposed or len(node._saved_stride) != 2:
        return None
    if node._raw_saved_input.unpack_hook is not None:  # it is computed again, or lies elsewhere
        return None
    inputs, groups = node._saved_input.detach(), node._saved_groups
    fan_out, wide_in, *kernel = weight.shape
    how = Convolution((kernel[0], kernel[1]), node._saved_stride, node._saved_padding, node._saved_dilation, groups)
    high, wide = how.maps(inputs.shape[2:])
    size = Size(len(inputs) * high * wide, wide_in * how.kernel[0] * how.kernel[1], fan_out // groups, groups)
    return Layer(GradientEdge(node, 0), *graph.named(weight, bias), inputs, size, how)


def _linear(node: Any, graph: Graph) -> Layer | None:
    *ahead, _, turned = (behind for behind, _ in node.next_functions)
    if turned is None or turned.name() != "TBackward0" or graph.edges[turned] > 1:
        return None
    to_bias = ahead[0] if ahead else None
    weight, bias = graph.leaf(turned.next_functions[0][0]), graph.leaf(to_bias)
    if weight is None or (to_bias is not None and (bias is None or node._saved_alpha != 1 or node._saved_beta != 1)):
        return None
    if (node._raw_saved_mat1 if ahead else node._raw_saved_self).unpack_hook is not None:
        return None
    inputs = (node._saved_mat1 if ahead else node._saved_self).detach()
    size = Size(len(inputs), weight.shape[1], weight.shape[0])
    return Layer(GradientEdge(node, 0), *graph.named(weight, bias), inputs, size, None)
