"""What steps tell in numbers, left on the device until it is asked for: all of it then comes in one transfer each."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtl_cli.look import Look

Numbers = npt.NDArray[np.floating]
MOST = 256
"""Tensors that are kept one by one before they are put together."""


class Series:
    """Tensors in one dimension, one after the other."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []

    def add(self, tensor: Tensor) -> None:
        """One more, which nobody writes to from here on."""
        self._tensors.append(tensor)
        if len(self._tensors) == MOST:
            self._tensors = [torch.cat(self._tensors)]

    def read(self) -> Numbers:
        """All of them in a row; waits for the device."""
        found: Numbers = torch.cat(self._tensors).cpu().numpy() if self._tensors else np.zeros(0)
        return found


class Tally:
    """The losses, counts and factors of steps, and their penalties, in the order of the steps."""

    def __init__(self) -> None:
        self._tasks: list[tuple[str, ...]] = []
        self._numbers = (Series(), Series(), Series())
        self._names: list[str] = []
        self._penalties = Series()

    def add(self, look: Look) -> None:
        """One step more."""
        self._tasks.append(look.tasks)
        for series, numbers_T in zip(self._numbers, (look.losses_T, look.counts_T, look.factors), strict=True):
            series.add(numbers_T)
        for name, penalty in look.penalties.items():
            self._names.append(name)
            self._penalties.add(penalty.reshape(1))

    def steps(self) -> Iterator[tuple[tuple[str, ...], list[Numbers]]]:
        """Each step's tasks, and their losses, counts and factors."""
        read = [series.read() for series in self._numbers]
        start = 0
        for tasks in self._tasks:
            yield tasks, [numbers[start : start + len(tasks)] for numbers in read]
            start += len(tasks)

    def penalties(self) -> Iterator[tuple[str, float]]:
        """Each penalty of each step, by its name."""
        yield from zip(self._names, self._penalties.read().tolist(), strict=True)
