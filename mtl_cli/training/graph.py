"""Which task uses which parameter: read from the autograd graph, never told."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.model import MultiTaskModel, in_mode
from mtl_cli.training.together import Together, tried


class Usage(NamedTuple):
    """Names of parameters by who uses them.

    shared: reached by two or more tasks, in the model's order.
    own: reached by that task alone.
    of: all that a task reaches.
    rest: trained, but reached by no task: penalties only.
    bottleneck: whether every shared parameter lies before the trunk's tensor.
    together: whether all parts may go through one forward pass.
    """

    shared: tuple[str, ...]
    own: dict[str, tuple[str, ...]]
    of: dict[str, frozenset[str]]
    rest: tuple[str, ...]
    bottleneck: bool
    together: Together


def usage(model: MultiTaskModel, examples: Mapping[str, Tensor]) -> Usage:
    """Runs each part's example once, in training mode, and walks from every output to its leaves; leaves no trace.

    Shapes: examples {part: (2, ...)}
    """
    of, behind = _trace(model, examples)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    users = {name: [task for task, names in of.items() if name in names] for name in trained}
    shared = tuple(name for name in trained if len(users[name]) > 1)
    own = {task: tuple(name for name in trained if users[name] == [task]) for task in of}
    rest = tuple(name for name in trained if not users[name])
    with _training(model):
        together = tried(model, examples, frozenset(shared))
    return Usage(shared, own, of, rest, behind is not None and not behind & set(shared), together)


def leaves(roots: Iterable[Tensor], stop: frozenset[torch.autograd.graph.Node] = frozenset()) -> set[int]:
    """Ids of the leaf tensors that require a gradient and are reached from `roots`, not going past `stop`."""
    found: set[int] = set()
    seen = set(stop)
    stack = [root.grad_fn for root in roots]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().endswith("AccumulateGrad"):
            found.add(id(node.variable))  # type: ignore[attr-defined]  # what an AccumulateGrad node leads to
        stack.extend(following for following, _ in node.next_functions)
    return found


def _trace(model: MultiTaskModel, examples: Mapping[str, Tensor]) -> tuple[dict[str, frozenset[str]], set[str] | None]:
    names = {id(p): name for name, p in model.named_parameters()}
    of: dict[str, frozenset[str]] = {}
    behind: set[str] | None = set()
    with _training(model):
        for part, inputs in examples.items():
            tasks = [task for task, its_part in model.part_of.items() if its_part == part]
            outputs, features, _ = model.run(inputs, tasks, part)
            trunks = [features[task].trunk for task in tasks]
            for task in tasks:
                of[task] = frozenset(names[i] for i in leaves([outputs[task]]))
            if behind is None or any(t is None or t is not trunks[0] for t in trunks):
                behind = None
                continue
            stop = frozenset(t.grad_fn for t in trunks if t is not None and t.grad_fn is not None)
            behind |= {names[i] for i in leaves(outputs.values(), stop)}
    return {task: of[task] for task in model.part_of}, behind


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Within it the model runs as in training; leaves no trace."""
    with traceless(model), in_mode(model, training=True), torch.enable_grad():
        yield


@contextmanager
def traceless(model: nn.Module) -> Iterator[None]:
    """Within it the model may run: buffers and the global random state are put back at the end."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    device = next(model.parameters()).device
    try:
        with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
