"""Tensors that steps leave on the device, one after the other, until they are asked for."""

import torch
from torch import Tensor

MOST = 256
"""Tensors that are kept one by one before they are put together."""


class Series:
    """Tensors of one dimension in a row; keeping one more launches nothing on the device, but for each MOST-th."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []

    def add(self, tensor: Tensor) -> None:
        """One more, which nobody writes to from here on."""
        self._tensors.append(tensor)
        if len(self._tensors) == MOST:
            self._tensors = [torch.cat(self._tensors)]

    def taken(self) -> Tensor | None:
        """All of them in one, on the device, and forgotten here; None: there are none."""
        found = torch.cat(self._tensors) if self._tensors else None
        self._tensors = []
        return found
