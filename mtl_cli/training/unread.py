"""Whether steps were finite, asked of the device only when the host reads: so no step waits for one."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mtl_cli.training.faults import finite

MOST = 256
"""Losses that are kept one by one before they are put together."""


class Unread:
    """What the host has not read yet of the steps since it last did.

    What is not finite stays so: a gradient that is not leaves its parameter so, running statistics keep what they were
    given, and no later step mends either. So steps only keep their losses; the rest is looked at when it is read.

    on: whether steps are taken without looking; the loop turns it off for steps that are taken again.

    Args:
        moved: gives all that steps move and that has to be finite.
        on: at first.
    """

    def __init__(self, moved: Callable[[], Iterable[Tensor]], on: bool) -> None:
        self.on = on
        self._moved = moved
        self._losses: list[Tensor] = []

    def note(self, losses_T: Tensor) -> None:
        """The losses of a step."""
        self._losses.append(losses_T)
        if len(self._losses) == MOST:
            self._losses = [torch.cat(self._losses)]

    def read(self) -> bool:
        """Waits for the device: whether all was finite since the last reading."""
        losses = [torch.cat(self._losses)] if self._losses else []
        self._losses = []
        return finite([*losses, *self._moved()])
