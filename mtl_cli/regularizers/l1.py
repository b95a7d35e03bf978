"""The lasso."""

from torch import Tensor

from mtl_cli.regularizers.base import Held, Regularizer, total


class L1Regularizer(Regularizer):
    """weight * sum |theta|.

    Source: Tibshirani, Regression shrinkage and selection via the lasso, JRSS B 58, 1996, eq. 1.
    """

    def penalty(self, held: Held) -> Tensor:
        """Adds absolute values."""
        return self.option.weight * total([p.abs().sum() for p in held.all()])
