"""Sums over processes; with one process there is nothing to add."""

import torch
from torch import Tensor, distributed


class Processes:
    """The processes that train one model together: the default group of torch.distributed, or this one alone."""

    def __init__(self) -> None:
        self.grouped = distributed.is_available() and distributed.is_initialized()
        self.size = distributed.get_world_size() if self.grouped else 1
        self.rank = distributed.get_rank() if self.grouped else 0

    def add(self, tensor: Tensor) -> Tensor:
        """Adds up `tensor` over all processes, in place."""
        if self.grouped:
            distributed.all_reduce(tensor)
        return tensor

    def add_all(self, tensors: list[Tensor]) -> None:
        """Adds up several tensors in one message, in place."""
        if not self.grouped or not tensors:
            return
        flat = self.add(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, summed in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))
