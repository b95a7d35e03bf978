"""A trunk that runs once a task, with what is the task's own in place of some of its tensors, or after its stages."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor, nn
from torch.func import functional_call

from mtl_cli.backbones.base import Backbone, BackboneFactory, Features, Spec, StageSpec
from mtl_cli.backbones.statistics import Statistics
from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError, nearest
from mtl_cli.sharing.base import Sharing, last_parameters


class TrunkATask(Sharing, ABC):
    """A backbone of all tasks that runs once for each, with running statistics of batch norm of the task's own."""

    def __init__(self, factory: BackboneFactory, tasks: Iterable[str]) -> None:
        super().__init__()
        self.backbone = factory()
        self.statistics = nn.ModuleDict({slot(task): Statistics(self.backbone) for task in tasks})

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass for each of those tasks."""
        return {task: self.passed(inputs, slot(task)) for task in tasks}

    @abstractmethod
    def passed(self, inputs: Tensor, key: str) -> Features:
        """The pass of the task in that slot."""

    def running(self, key: str) -> dict[str, Tensor]:
        """The running statistics of the task in that slot, by their names in the backbone."""
        statistics = self.statistics[key]
        assert isinstance(statistics, Statistics)
        return statistics.by_name()

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self.backbone.spec

    def last_stage(self) -> list[nn.Parameter]:
        """The backbone's last stage with parameters that train."""
        return last_parameters(self.backbone.stages)


def run(
    backbone: Backbone, lent: Mapping[str, Tensor], inputs: Tensor, after: Callable[[str, Tensor], Tensor] | None = None
) -> Features:
    """One pass.

    Args:
        backbone: whose stages and neck run.
        lent: tensors that take the place of parameters and buffers for its length, under their names in the backbone.
        inputs: (B, ...).
        after: given a stage's name and output, what goes on in its place.
    """
    stages: dict[str, Tensor] = {}
    tensor = inputs
    for name, stage in backbone.stages.items():
        tensor = _call(stage, f"stages.{name}.", lent, tensor)
        if after is not None:
            tensor = after(name, tensor)
        stages[name] = tensor
    return Features(_call(backbone.neck, "neck.", lent, tensor), stages, None, {})


def _call(module: nn.Module, prefix: str, lent: Mapping[str, Tensor], tensor: Tensor) -> Tensor:
    own = {name.removeprefix(prefix): value for name, value in lent.items() if name.startswith(prefix)}
    found: Tensor = functional_call(module, own, (tensor,))
    return found


def chosen(asked: Sequence[str] | None, spec: Spec) -> list[StageSpec]:
    """The stages that `sharing.at` names; all, where it is null. Raises: ConfigError: one that there is not."""
    names = [stage.name for stage in spec.stages]
    for name in asked or []:
        if name not in names:
            raise ConfigError(f"sharing.at names {name}, which is no stage of the backbone: {nearest(name, names)}")
    return [stage for stage in spec.stages if asked is None or stage.name in asked]
