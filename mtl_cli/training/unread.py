"""Whether steps were finite, kept on the device until the host asks: so no step waits for one."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mtl_cli.training.faults import norm


class Unread:
    """What the host has not read yet of the steps since it last did.

    on: whether steps are taken without looking; the loop turns it off for steps that are taken again.

    Args:
        device: where steps are computed.
        on: at first.
    """

    def __init__(self, device: torch.device, on: bool) -> None:
        self.on = on
        self._good = torch.ones((), dtype=torch.bool, device=device)

    def note(self, tensors: Iterable[Tensor]) -> None:
        """Whether these are finite goes to what is unread; one whose square overflows counts as if it were not."""
        self._good &= norm([tensor for tensor in tensors if tensor.numel()]).isfinite()

    def read(self) -> bool:
        """Waits for the device: whether all was finite since the last reading."""
        good = bool(self._good)
        self._good.fill_(value=True)
        return good
