"""The part of a model that some tasks need: what their forward pass never reads is taken out."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mtl_cli.model import MultiTaskModel


class Reads(TorchDispatchMode):
    """Within it, notes every tensor that an operation is given.

    One rule for every strategy and backbone: modules may be called, iterated or lent tensors, and nobody has to say
    which of their tensors a task reads.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self._seen: dict[int, Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation."""
        self._seen |= {id(tensor): tensor for tensor in _tensors((args, kwargs or {}))}
        return func(*args, **(kwargs or {}))

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._seen


def needed(model: MultiTaskModel, tasks: Sequence[str], shape: tuple[int, ...]) -> MultiTaskModel:
    """A copy of what those tasks need, on the CPU in float32 and in evaluation mode; the model stays as it is.

    Shapes: shape is that of one sample, (C, H, W) or (D,)
    """
    small = copy.deepcopy(model.ready(tasks)).cpu().float().eval()
    by_part: dict[str, list[str]] = {}
    for task, part in small.part_of.items():
        by_part.setdefault(part, []).append(task)
    with torch.no_grad(), Reads() as reads:
        for part, names in by_part.items():
            small(torch.zeros(2, *shape), names, part)
    _forget(small, reads)
    return small


def _forget(model: nn.Module, reads: Reads) -> None:
    """Takes out every parameter and buffer that was not read; its name stays, and holds None."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if parameter not in reads:
                module.register_parameter(name, None)
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            if buffer not in reads:
                module.register_buffer(name, None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
