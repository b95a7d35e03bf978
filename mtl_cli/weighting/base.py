"""Loss values to a weight for each task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_cli.contracts import Group, Look, Needs
from mtl_cli.tasks.base import Task


class Weighting(nn.Module, ABC):
    """A scalar made of the active tasks' losses; built from (option, tasks by name).

    The step takes c = d total / d losses as each task's coefficient; `tasks.*.weight` multiplies it. State is
    tensors, keyed by task name; `forward` moves none, and neither does a skipped step.
    """

    needs: Needs = Needs()

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.tasks = dict(tasks)

    @abstractmethod
    def forward(self, losses_T: Tensor, active: Sequence[str]) -> Tensor:
        """The total, differentiable in the losses and in the weighting's own parameters. Shapes: (T,) -> ()"""

    def before_step(self, look: Look) -> None:  # a hook that most leave empty
        """Sees the losses, and the gradients that its needs declare, before the coefficients are taken."""

    def after_step(self, look: Look) -> None:  # a hook that most leave empty
        """Moves its state, after the optimizer's step."""

    def after_epoch(self, means: Mapping[str, float]) -> None:  # a hook that most leave empty
        """Moves its state at the end of an epoch, from the mean loss of each task that was active in it."""

    def groups(self) -> list[Group]:
        """Its own parameters, with a learning rate of their own; stepped by the run's optimizer."""
        return []
