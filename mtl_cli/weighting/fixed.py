"""The plain sum."""

from collections.abc import Mapping

from torch import Tensor

from mtl_cli.contracts import LossFacts, Needs
from mtl_cli.look import Look
from mtl_cli.weighting.base import Weighting
from mtl_cli.weighting.options import Fixed


class FixedWeighting(Weighting):
    """Every loss counts as it is, times its task's own `weight`.

    total = sum_t L_t

    Shapes: losses_T (T,) -> ()
    """

    needs = Needs(reads_losses=False)
    sums = True

    def __init__(self, option: Fixed, losses: Mapping[str, LossFacts]) -> None:  # every weighting is built so
        super().__init__(losses)

    def forward(self, losses_T: Tensor, look: Look) -> Tensor:  # all losses alike
        """Adds up."""
        return losses_T.sum()
