"""The lasso."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_cli.regularizers.base import Regularizer


class L1Regularizer(Regularizer):
    """weight * sum |theta|.

    Source: Tibshirani, Regression shrinkage and selection via the lasso, JRSS B 58, 1996, eq. 1.
    """

    def penalty(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Adds absolute values."""
        return self.option.weight * torch.stack([p.abs().sum() for p in parameters]).sum()
