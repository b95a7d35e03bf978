"""What is added after balancing: the sharing's own penalty and the regularizers."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import Features
from mtl_cli.look import Look
from mtl_cli.model import MultiTaskModel
from mtl_cli.processes import Portion, Processes
from mtl_cli.regularizers.base import Held, Regularizer
from mtl_cli.sharing.base import Sharing
from mtl_cli.training.faults import finite
from mtl_cli.training.gradients import accumulate
from mtl_cli.training.graph import Usage
from mtl_cli.training.passes import Forward
from mtl_cli.training.scale import LossScale
from mtl_cli.training.spans import within
from mtl_cli.training.spread import Gathered


class Penalties:
    """Computes penalties, writes them down by name in a look, and gives or adds their gradients."""

    def __init__(
        self,
        model: MultiTaskModel,
        usage: Usage,
        regularizers: Mapping[str, Regularizer],
        scale: LossScale,
        processes: Processes,
    ) -> None:
        self._model = model
        self._usage = usage
        self._regularizers = regularizers
        self._scale = scale
        self._processes = processes
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        for regularizer in regularizers.values():
            regularizer.begin(self._held(regularizer, usage.shared, usage.own))
        self.of_features = type(model.sharing).penalty is not Sharing.penalty
        """Whether the sharing has a penalty, which sees the features of all parts of a batch at once."""

    @within("penalties")
    def of_sharing(self, forward: Forward, look: Look, passes: int) -> Tensor | None:
        """This pass's share of the sharing's penalty, which is the mean over passes. Shape: ()

        Each of several processes computes it of all their rows, and answers for its part of it.
        """
        if not self.of_features:
            return None
        merged = {
            task: self._of_all(found, portion)
            for features, portion in zip(forward.features, forward.portions, strict=True)
            for task, found in features.items()
        }
        penalty = self._model.sharing.penalty(merged, self._model.heads_by_task())
        if penalty is None:
            return None
        penalty = penalty / passes
        before = look.penalties.get("sharing")
        look.penalties["sharing"] = penalty.detach() if before is None else before + penalty.detach()
        return penalty / self._processes.size

    def _of_all(self, features: Features, portion: Portion) -> Features:
        """With what only penalties read of all processes' rows."""
        if not (self._processes.grouped and self.of_features):
            return features
        gathered = {name: Gathered.apply(rows, portion, self._processes) for name, rows in features.aux.items()}
        return features._replace(aux=gathered)

    @within("penalties")
    def gradients(self, penalty: Tensor | None, into: dict[str, Tensor]) -> None:
        """Adds a penalty's gradients by parameter; keeps the graph."""
        if penalty is not None:
            scaled, parameters = self._scale.up(penalty), list(self._parameters.values())
            found = torch.autograd.grad(scaled, parameters, retain_graph=True, allow_unused=True)
            accumulate(into, list(self._parameters), [None if g is None else self._scale.down(g) for g in found])

    @within("penalties")
    def regularize(self, look: Look, reached: frozenset[str]) -> bool:
        """Adds the regularizers' gradients to those of the parameters that the step's active tasks reach.

        Returns whether all that was added is finite.
        """
        added: list[Tensor] = []
        own = {task: self._usage.own[task] for task in look.tasks}
        shared = [name for name in self._usage.shared if name in reached]
        for name, regularizer in self._regularizers.items():
            held = self._held(regularizer, shared, own)
            penalty = regularizer.penalty(held)
            look.penalties[name] = penalty.detach()
            if penalty.requires_grad:
                parameters = held.all()
                found = torch.autograd.grad(penalty, parameters, allow_unused=True)
                for parameter, gradient in zip(parameters, found, strict=True):
                    if gradient is not None:
                        add_gradient(parameter, gradient)
                        added.append(gradient)
        return not added or finite(added)

    @within("penalties")
    def after_step(self, step: int) -> None:
        """Lets regularizers renew what they learn, after the optimizer's step."""
        for regularizer in self._regularizers.values():
            regularizer.after_step(step)

    def _held(self, regularizer: Regularizer, shared: Sequence[str], own: Mapping[str, Sequence[str]]) -> Held:
        """What it may hold of those parameters."""
        which = regularizer.option.parameters
        return Held(
            {name: self._parameters[name] for name in shared if which != "task"},
            {t: {name: self._parameters[name] for name in its if which != "shared"} for t, its in own.items()},
        )


def add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Adds to what the parameter has, or gives it its first."""
    parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient
