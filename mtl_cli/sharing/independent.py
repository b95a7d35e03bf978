"""A backbone for each task."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import Independent


class IndependentSharing(Sharing):
    """No task shares a parameter with another: single-task learning, all tasks in one run.

    f_t(x) = f(x; theta_t), all theta_t equal at the start

    Shapes: inputs (B, ...) -> Features of (B, ...)
    """

    shares = False

    def __init__(self, option: Independent, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({slot(task): factory() for task in tasks})
        self._spec = factory.spec

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """Runs the networks of those tasks."""
        return {task: self.networks[slot(task)](inputs)._replace(trunk=None) for task in tasks}

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """None: nothing is shared."""
        return []
