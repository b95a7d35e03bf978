"""Which parameters tasks share, and how."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from mtl_cli.backbones.base import Features, Spec
from mtl_cli.contracts import Group
from mtl_cli.options import ConfigError


class Sharing(nn.Module, ABC):
    """One input to each task's features; built from (option, backbone factory, tasks).

    tasks: names in their order, each with how many numbers its head puts out for a sample.
    """

    shares: ClassVar[bool] = True
    """Whether two tasks may reach one parameter."""
    trunk: ClassVar[bool] = False
    """Whether all tasks read one tensor, with no shared parameter behind it."""
    data_set_a_task: ClassVar[bool] = False
    """Whether each task must have a part of its own."""
    mixes_all: ClassVar[bool] = False
    """Whether each task alone needs every network, so that a shipped task is as large as all."""

    @abstractmethod
    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """The features of those tasks, computing only what they need; equal to the full pass in eval mode."""

    @abstractmethod
    def spec(self, task: str) -> Spec:
        """What the head of a task will get."""

    @abstractmethod
    def last_stage(self) -> list[nn.Parameter]:
        """Parameters of the last stage that tasks may share: where gradient norms are cheap."""

    def outputs(self, features: Mapping[str, Features], heads: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Each of those tasks' output: its head on its features; a hook, for heads that read one another.

        heads: of all tasks.
        Shapes: {task: Features of (B, ...)} -> {task: (B, width)}
        """
        return {task: heads[task](found) for task, found in features.items()}

    def penalty(self, features: Mapping[str, Features], heads: Mapping[str, nn.Module]) -> Tensor | None:  # a hook
        """A scalar added after balancing, logged as `sharing`; never a task."""
        return None

    def before_step(self, step: int, steps: int) -> None:  # a hook that most leave empty
        """Moves schedules and phases to `step` of `steps`."""

    def after_step(self, heads: Mapping[str, nn.Module]) -> None:  # a hook that most leave empty
        """Closed-form updates, after the optimizer's."""

    def groups(self) -> list[Group]:
        """Parameters with a learning rate of their own."""
        return []

    def learned(self) -> list[str]:
        """Lines on what it has found out, such as a tree, with words to be copied; told as they are at the end."""
        return []

    def ready(self, tasks: Sequence[str]) -> "Sharing":  # a hook: most ship as they train
        """What is shipped for those tasks: the same features in eval mode, batch norms under the same names.

        What those tasks never read need not be taken out: that is done for every strategy alike.
        """
        return self

    def decides(self) -> dict[str, Tensor]:
        """By name, those of its parameters whose values decide what `ready` makes: kept beside weights alone."""
        return {}


def needs_stages(spec: Spec, what: str) -> None:
    """Raises ConfigError: the backbone is one opaque stage; `what` says which strategy does what with stages."""
    if spec.opaque:
        raise ConfigError(f"{what}, and this backbone cannot be cut into stages: take another, or sharing=hard")


def last_parameters(stages: nn.ModuleDict) -> list[nn.Parameter]:
    """The parameters of the last stage with some that train."""
    for stage in reversed(list(stages.values())):
        found = [parameter for parameter in stage.parameters() if parameter.requires_grad]
        if found:
            return found
    return []
