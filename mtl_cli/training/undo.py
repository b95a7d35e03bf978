"""What a step moves on the way to its gradients, as it was before."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Undo:
    """Keeps copies of tensors, to put them back where a step is not taken.

    Those that lie on one device and are of one type are copied by one call.
    """

    def __init__(self, moved: Sequence[Tensor]) -> None:
        kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for tensor in moved:
            kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        self._pairs = [([tensor.detach().clone() for tensor in alike], alike) for alike in kinds.values()]

    def remember(self) -> None:
        """From now on this is how they were."""
        for before, moved in self._pairs:
            torch._foreach_copy_(before, moved)

    def restore(self) -> None:
        """They are as they were then."""
        with torch.no_grad():
            for before, moved in self._pairs:
                torch._foreach_copy_(moved, before)
