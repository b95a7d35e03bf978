"""One backbone for all tasks."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import Hard


class HardSharing(Sharing):
    """Every task reads the same features.

    f_t(x) = f(x) for every task t

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Source: Caruana, Multitask learning, Machine Learning 28, 1997, section 2.
    """

    trunk = True

    def __init__(self, option: Hard, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.backbone = factory()

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass, given to each task."""
        features = self.backbone(inputs)
        return dict.fromkeys(tasks, features)

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self.backbone.spec

    def last_stage(self) -> list[nn.Parameter]:
        """The backbone's last stage that has parameters."""
        return last_parameters(self.backbone.stages)


def last_parameters(stages: nn.ModuleDict) -> list[nn.Parameter]:
    """The parameters of the last stage that has any."""
    for stage in reversed(list(stages.values())):
        found = list(stage.parameters())
        if found:
            return found
    return []
