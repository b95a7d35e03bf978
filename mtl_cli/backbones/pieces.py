"""A traced network in pieces: each a module of its own from one tensor to one tensor, with the original's weights."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from mtl_cli.backbones.cutting import Plan

OUT_OF_PLACE: dict[Any, Any] = {operator.iadd: operator.add, operator.imul: operator.mul}
NEW = (operator.add, operator.mul, torch.cat)
"""Functions whose result shares no memory with what they are given."""


class Stage(nn.Module):
    """A piece of a network; `recompute` keeps its input alone for the backward pass, which computes the rest again.

    What is computed again runs on the weights of its forward pass and on copies of its buffers, so that running
    statistics move once, also where they were lent for that pass only (`functional_call`).
    """

    def __init__(self, body: nn.Module, recompute: bool) -> None:
        super().__init__()
        self.body = body
        self.recompute = recompute

    def forward(self, inputs: Tensor) -> Tensor:
        """The piece's output."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            output: Tensor = self.body(inputs)
            return output
        weights, buffers = dict(self.body.named_parameters()), dict(self.body.named_buffers())
        first = [buffers]

        def run(tensor: Tensor) -> Any:
            lent = first.pop() if first else {name: buffer.clone() for name, buffer in buffers.items()}
            return functional_call(self.body, {**weights, **lent}, (tensor,))

        again: Tensor = checkpoint(run, inputs, use_reentrant=False)
        return again


def cut(network: nn.Module, plan: Plan, repeat: bool) -> tuple[dict[str, nn.Module], nn.Module]:
    """The stages by name, and the neck.

    Args:
        network: whose weights the pieces hold.
        plan: where to cut it.
        repeat: whether inputs have one channel, to be repeated to three.
    """
    nodes = list(plan.graph.nodes)
    start = next(node for node in nodes if node.op == "placeholder")
    channels_last = False
    bodies: dict[str, nn.Module] = {}
    for name, place in plan.stages:
        piece = Piece(start)
        if repeat and not bodies:
            piece.apply("expand", -1, 3, -1, -1)
        if channels_last:
            piece.apply("permute", 0, 2, 3, 1)
        piece.take(_after(nodes, start, place.node), place.node)
        if place.channels_last:
            piece.apply("permute", 0, 3, 1, 2)
        bodies[name] = piece.module(network)
        start, channels_last = place.node, place.channels_last
    neck = Piece(start)
    if channels_last:
        neck.apply("permute", 0, 2, 3, 1)
    neck.take(_after(nodes, start, plan.penultimate), plan.penultimate)
    if isinstance(network.get_submodule(plan.classifier), nn.Conv2d):
        neck.apply("mean", (2, 3))
    return bodies, neck.module(network)


class Piece:
    """A graph under construction, from the tensor of `start` on."""

    def __init__(self, start: fx.Node) -> None:
        self._graph = fx.Graph()
        self._start = start
        self._last = self._graph.placeholder("inputs")

    def apply(self, method: str, *args: Any) -> None:
        """Calls a tensor's method on what the piece gives so far."""
        self._last = self._graph.call_method(method, (self._last, *args))

    def take(self, nodes: Sequence[fx.Node], end: fx.Node) -> None:
        """Goes on with copies of `nodes`, to the tensor of `end`."""
        copies = {self._start: self._last}

        def copied(node: fx.Node) -> fx.Node:
            if node not in copies:
                copies[node] = self._graph.node_copy(node, copied)
            return copies[node]

        for node in nodes:
            copied(node)
        self._last = copies[end]

    def module(self, network: nn.Module) -> fx.GraphModule:
        """The module; it leaves its input as it is."""
        self._graph.output(self._last)
        module = fx.GraphModule(network, self._graph)
        _spare_input(module)
        module.recompile()
        return module


def _after(nodes: Sequence[fx.Node], start: fx.Node, end: fx.Node) -> Sequence[fx.Node]:
    return nodes[nodes.index(start) + 1 : nodes.index(end) + 1]


def _spare_input(module: fx.GraphModule) -> None:
    """Makes operations out-of-place that would write into the piece's input, or into a view of it."""
    views: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder":
            views.add(node)
        elif not views.isdisjoint(node.all_input_nodes):
            layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
            if node.args and node.args[0] in views and _writes(node, layer):
                _redirect(node, layer)
            elif not (node.target in NEW or (layer is not None and any(True for _ in layer.parameters()))):
                views.add(node)


def _writes(node: fx.Node, layer: nn.Module | None) -> bool:
    if layer is not None:
        return vars(layer).get("inplace") is True
    if node.op == "call_method":
        return str(node.target).endswith("_")
    return node.target in OUT_OF_PLACE or node.kwargs.get("inplace") is True


def _redirect(node: fx.Node, layer: nn.Module | None) -> None:
    if layer is not None:
        vars(layer)["inplace"] = False
    elif node.op == "call_method":
        node.target = str(node.target).removesuffix("_")
    elif node.target in OUT_OF_PLACE:
        node.target = OUT_OF_PLACE[node.target]
    else:
        node.kwargs = {**node.kwargs, "inplace": False}
