"""Ridge."""

from torch import Tensor

from mtl_cli.regularizers.base import Held, Regularizer, total


class L2Regularizer(Regularizer):
    """weight / 2 * sum theta^2.

    Source: Hoerl and Kennard, Ridge regression, Technometrics 12, 1970, section 2.
    """

    def penalty(self, held: Held) -> Tensor:
        """Adds squares."""
        return 0.5 * self.option.weight * total([p.square().sum() for p in held.all()])
