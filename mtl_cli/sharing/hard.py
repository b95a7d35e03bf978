"""One backbone for all tasks."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError, nearest
from mtl_cli.sharing.base import Sharing, last_parameters, needs_stages
from mtl_cli.sharing.options import Hard


class HardSharing(Sharing):
    """Every task reads the same features; or those of its own copy of the stages behind the one where the trunk ends.

        f_t(x) = f(x) for every task t;  with split_at  f_t(x) = b_t(f(x)), all b_t equal at the start

    f: the backbone, or its stages up to split_at. b_t: the stages and the neck behind.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: split_at is no stage of the backbone, or that is one opaque stage.
    Note:   the trunk that ends with the last stage is the whole backbone, with its neck.
    Source: Caruana, Multitask learning, Machine Learning 28, 1997, section 2.
    """

    trunk = True

    def __init__(self, option: Hard, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        ahead, behind = _halves(option.split_at, factory.spec)
        self._spec = factory.spec
        self.backbone = factory.piece(ahead)
        self.branches = nn.ModuleDict({slot(task): factory.piece(behind) for task in tasks if behind})

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass through the trunk; behind it, where it ends early, the branches of those tasks."""
        trunk = self.backbone(inputs)
        if not self.branches:
            return dict.fromkeys(tasks, trunk)
        found = {task: self.branches[slot(task)](trunk.vector) for task in tasks}
        return {
            task: Features(own.vector, {**trunk.stages, **own.stages}, trunk.vector, {}) for task, own in found.items()
        }

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The trunk's last stage that has parameters."""
        return last_parameters(self.backbone.stages)


def _halves(split_at: str | None, spec: Spec) -> tuple[list[str], list[str]]:
    """The stages of the trunk, and those behind it."""
    names = [stage.name for stage in spec.stages]
    if split_at is None:
        return names, []
    needs_stages(spec, f"sharing.split_at={split_at} ends the trunk with a stage")
    if split_at not in names:
        raise ConfigError(f"sharing.split_at={split_at} is no stage of the backbone: {nearest(split_at, names)}")
    end = names.index(split_at) + 1
    return names[:end], names[end:]
