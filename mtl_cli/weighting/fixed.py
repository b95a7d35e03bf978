"""The plain sum."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mtl_cli.contracts import Needs
from mtl_cli.tasks.base import Task
from mtl_cli.weighting.base import Weighting
from mtl_cli.weighting.options import Fixed


class FixedWeighting(Weighting):
    """Every loss counts as it is, times its task's own `weight`.

    total = sum_t L_t

    Shapes: losses_T (T,) -> ()
    """

    needs = Needs(reads_losses=False)

    def __init__(self, option: Fixed, tasks: Mapping[str, Task]) -> None:  # every weighting is built so
        super().__init__(tasks)

    def forward(self, losses_T: Tensor, active: Sequence[str]) -> Tensor:  # all losses alike
        """Adds up."""
        return losses_T.sum()
