"""A network for each task."""

from abc import ABC
from collections.abc import Iterable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import Sharing


class NetworkATask(Sharing, ABC):
    """No parameter is reached by two tasks; networks start equal."""

    shares: ClassVar[bool] = False

    def __init__(self, factory: BackboneFactory, tasks: Iterable[str]) -> None:
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
