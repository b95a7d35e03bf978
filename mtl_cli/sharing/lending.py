"""A trunk that runs once a task, with tensors of the task's own in place of some of its."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn
from torch.func import functional_call

from mtl_cli.backbones.base import Backbone, Features, Spec, StageSpec
from mtl_cli.options import ConfigError, nearest


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
