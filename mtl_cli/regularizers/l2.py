"""Ridge."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_cli.regularizers.base import Regularizer


class L2Regularizer(Regularizer):
    """weight / 2 * sum theta^2.

    Source: Hoerl and Kennard, Ridge regression, Technometrics 12, 1970, section 2.
    """

    def penalty(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Adds squares."""
        return 0.5 * self.option.weight * torch.stack([p.square().sum() for p in parameters]).sum()
