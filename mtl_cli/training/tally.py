"""What steps tell in numbers, left on the device until it is asked for: all of it then comes in one transfer each."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mtl_cli.look import Look
from mtl_cli.training.series import Series

Numbers = npt.NDArray[np.floating]


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
        read = [_on_host(series) for series in self._numbers]
        start = 0
        for tasks in self._tasks:
            yield tasks, [numbers[start : start + len(tasks)] for numbers in read]
            start += len(tasks)

    def penalties(self) -> Iterator[tuple[str, float]]:
        """Each penalty of each step, by its name."""
        yield from zip(self._names, _on_host(self._penalties).tolist(), strict=True)


def _on_host(series: Series) -> Numbers:
    """All of its numbers; waits for the device."""
    taken = series.taken()
    return np.zeros(0) if taken is None else taken.cpu().numpy()
