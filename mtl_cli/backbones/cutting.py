"""One rule that cuts a classification network into stages and a neck, by its traced graph.

A cut lies behind a module's output where no other tensor is alive. The cuts are grouped by resolution (by octaves of
the input's side, so that 149 and 147 of 299 pixels are one), and in each group the shallowest module boundary is kept,
the last of several. A sequence keeps its length throughout: its blocks are dealt to four stages. Stages end before
the pooling that makes a vector. A stage without weights joins the one before it. The neck leads from the last stage
to the input of the classifier, which is the last module with weights, and is dropped.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torchvision.models.maxvit import RelativePositionalMultiHeadAttention
from torchvision.models.swin_transformer import ShiftedWindowAttention

from mtl_cli.backbones.base import Kind, StageSpec

QUARTERS = 4
WHOLE = (ShiftedWindowAttention, RelativePositionalMultiHeadAttention)
"""Traced inside, their dropout would keep the mode of the trace, and their table of positions its values."""
UNTRACEABLE = (fx.proxy.TraceError, TypeError, ValueError, AttributeError, RuntimeError)


class Cut(NamedTuple):
    """A place behind `node` where its tensor alone is alive; the modules whose outputs it is, by path."""

    node: fx.Node
    paths: tuple[str, ...]
    kind: Kind
    channels: int
    stride: int
    channels_last: bool


class Plan(NamedTuple):
    """Where to cut: the stages' names and ends, the vector before the classifier, and the classifier's path."""

    graph: fx.Graph
    stages: tuple[tuple[str, Cut], ...]
    penultimate: fx.Node
    classifier: str
    width: int

    @property
    def specs(self) -> tuple[StageSpec, ...]:
        """What each stage puts out."""
        return tuple(StageSpec(name, cut.kind, cut.channels, cut.stride) for name, cut in self.stages)


class Tracer(fx.Tracer):
    """Traces down to torch's and torchvision's layers; notes whose output each tensor is.

    What looks at `training`, or draws, stays a module, so that nothing of a mode is written into the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[fx.Node, list[str]] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers of torch, blocks of torchvision.ops, and attention with positions."""
        ours = m.__module__.startswith("torchvision.ops") or isinstance(m, WHOLE)
        return ours or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As the base does."""
        path = self.path_of_module(m)
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.ends.setdefault(output.node, []).append(path)
        return output


class Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.of: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """As the base does."""
        output = super().run_node(n)
        if isinstance(output, Tensor):
            self.of[n.name] = tuple(output.shape)
        return output


def plan(skeleton: nn.Module, side: int) -> Plan | None:
    """Where the rule cuts a network; None where it cannot be traced, keeps a value of the trace, or has no such place.

    Args:
        skeleton: the network, on the meta device.
        side: of the square images that it was made for.
    """
    tracer = Tracer()
    own = set(skeleton.state_dict(keep_vars=True))
    try:
        graph = tracer.trace(skeleton)
        shapes = Shapes(fx.GraphModule(skeleton, graph))
        shapes.run(torch.empty(1, 3, side, side, device="meta"))
    except UNTRACEABLE:
        return None
    nodes = list(graph.nodes)
    weighted = [node for node in nodes if _weighted(node, skeleton)]
    if not weighted or weighted[-1].op != "call_module" or _kept(nodes, own):
        return None
    classifier = weighted[-1]
    penultimate = classifier.all_input_nodes[0]
    cuts = _cuts(nodes, tracer.ends, shapes.of, side, classifier, skeleton)
    chosen = _joined(_chosen(cuts), nodes, set(weighted))
    if not chosen:
        return None
    names = _names(chosen, cuts, nodes, skeleton)
    width = shapes.of[penultimate.name][1]
    return Plan(graph, tuple(zip(names, chosen, strict=True)), penultimate, str(classifier.target), width)


def _kept(nodes: Sequence[fx.Node], own: set[str]) -> bool:
    """Whether the trace computed something of the weights, which then would never change."""
    return any(node.op == "get_attr" and node.target not in own for node in nodes)


def _weighted(node: fx.Node, module: nn.Module) -> bool:
    if node.op == "call_module":
        return any(True for _ in module.get_submodule(str(node.target)).parameters())
    return node.op == "get_attr"


def _cuts(
    nodes: Sequence[fx.Node],
    ends: dict[fx.Node, list[str]],
    shapes: dict[str, tuple[int, ...]],
    side: int,
    classifier: fx.Node,
    module: nn.Module,
) -> list[Cut]:
    """All places to cut before the pooling, in the order in which they are passed."""
    found: list[Cut] = []
    stride = 1
    for node in _alone(nodes):
        shape = shapes.get(node.name, ())
        pooled = node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), nn.AdaptiveAvgPool2d)
        if node is classifier or len(shape) == 2 or pooled:
            break
        if node not in ends:
            continue
        if len(shape) == 4 and shape[2] == shape[3]:
            stride = _octave(side, shape[2])
            found.append(Cut(node, tuple(ends[node]), "map", shape[1], stride, channels_last=False))
        elif len(shape) == 4 and shape[1] == shape[2]:
            stride = _octave(side, shape[1])
            found.append(Cut(node, tuple(ends[node]), "map", shape[3], stride, channels_last=True))
        elif len(shape) == 3:
            stride = _octave(side, max(math.isqrt(shape[1]), 1))
            found.append(Cut(node, tuple(ends[node]), "sequence", shape[2], stride, channels_last=False))
    return found


def _octave(side: int, small: int) -> int:
    return 1 << max(round(math.log2(side / small)), 0)


def _alone(nodes: Sequence[fx.Node]) -> list[fx.Node]:
    """The nodes behind which nothing else is alive; what is read off the module itself does not count."""
    place = {node: i for i, node in enumerate(nodes)}
    last = {node: max((place[user] for user in node.users), default=-1) for node in nodes}
    alive: set[fx.Node] = set()
    alone = []
    for i, node in enumerate(nodes):
        alive = {other for other in alive if last[other] > i}
        if last[node] > i and node.op != "get_attr":
            alive.add(node)
        if alive == {node} and node.op != "placeholder":
            alone.append(node)
    return alone


def _chosen(cuts: Sequence[Cut]) -> list[Cut]:
    """One of each resolution; of a sequence up to four."""
    chosen: list[Cut] = []
    for (kind, _), same in groupby(cuts, lambda cut: (cut.kind, cut.kind == "sequence" or cut.stride)):
        group = list(same)
        if kind == "sequence":
            chosen += _quarters(group)
        shallowest = min(_depth(cut) for cut in group)
        chosen.append([cut for cut in group if _depth(cut) == shallowest][-1])
    return chosen


def _quarters(group: Sequence[Cut]) -> list[Cut]:
    """The ends of the first three quarters of a sequence's blocks."""
    container = Counter(_parent(path) for cut in group for path in cut.paths).most_common(1)[0][0]
    blocks = [cut for cut in group if any(_parent(path) == container for path in cut.paths)]
    if len(blocks) < QUARTERS:
        return []
    return [blocks[len(blocks) * k // QUARTERS - 1] for k in range(1, QUARTERS)]


def _joined(chosen: Sequence[Cut], nodes: Sequence[fx.Node], weighted: set[fx.Node]) -> list[Cut]:
    """Without stages that have no weights: each of them belongs to the one before it."""
    joined: list[Cut] = []
    for before, cut in pairwise([None, *chosen]):
        assert cut is not None
        if weighted & set(_between(nodes, None if before is None else before.node, cut.node)):
            joined.append(cut)
        elif joined:
            joined[-1] = cut
    return joined


def _names(chosen: Sequence[Cut], cuts: Sequence[Cut], nodes: Sequence[fx.Node], module: nn.Module) -> list[str]:
    """Each stage bears the name of its last module with weights: layer3, or features_4 of features.4."""
    paths: list[str] = []
    for i, cut in enumerate(chosen):
        others = [path for other in chosen if other is not cut for path in other.paths]
        own = [path for path in cut.paths if not any(path_of.startswith(f"{path}.") for path_of in others)]
        path = min(own or cut.paths, key=lambda name: name.count("."))
        inside = set(_between(nodes, chosen[i - 1].node if i else None, cut.node))
        level = [
            name
            for place in cuts
            if place.node in inside
            for name in place.paths
            if name.count(".") == path.count(".") and any(True for _ in module.get_submodule(name).parameters())
        ]
        paths.append(level[-1] if level else path)
    short = [_short(path) for path in paths]
    return short if len(set(short)) == len(short) else [path.replace(".", "_") for path in paths]


def _short(path: str) -> str:
    parent, _, name = path.rpartition(".")
    return f"{parent.rpartition('.')[2]}_{name}" if name.isdigit() else name


def _between(nodes: Sequence[fx.Node], start: fx.Node | None, end: fx.Node) -> list[fx.Node]:
    """The nodes after `start` up to and with `end`."""
    first = 0 if start is None else nodes.index(start) + 1
    return list(nodes[first : nodes.index(end) + 1])


def _depth(cut: Cut) -> int:
    return min(path.count(".") for path in cut.paths)


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
