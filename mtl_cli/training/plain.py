"""One backward pass for each micro-batch, with coefficients and weights that are known before it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_cli.data.base import Batch
from mtl_cli.look import Look
from mtl_cli.model import How
from mtl_cli.training.faults import Faults, finite, found
from mtl_cli.training.kit import Kit
from mtl_cli.training.passes import stacked
from mtl_cli.training.spans import within

AT_ONCE = How(at_once=True)
Losses = Mapping[str, Tensor] | Tensor
"""By their tasks, or of all active ones in one tensor."""


class Plain:
    """The way of methods that ask for no gradients.

    Args:   balanced: whether there is something shared for the aggregation to balance.
    """

    def __init__(self, kit: Kit, balanced: bool) -> None:
        self._kit = kit
        self._balanced = balanced

    def take(self, batches: Sequence[Batch], look: Look) -> Faults | None:
        """Puts a gradient on every parameter that an active task reaches; or says what is not finite.

        Without a task's name, where a gradient is not and all losses are: which one, a backward pass a task tells.
        Where it is read later, nothing is said.
        """
        kit = self._kit
        weights_T = kit.methods.plain_weights(look) if self._balanced else None
        if weights_T is not None:
            look.weigh(weights_T)
        even = weights_T is None or all(weight == 1 for weight in weights_T.tolist())
        twice = not even and not kit.methods.aggregation.scale_task_parameters
        reads = kit.methods.weighting.needs.reads_losses
        if not reads:
            kit.methods.weighting.before_step(look)
            look.c_T = kit.methods.coefficients(look)
        for batch in batches:
            forward = kit.passes.forward(batch, look.tasks, look.counts_T, AT_ONCE)
            losses_T = stacked(forward.losses, look.tasks, look.losses_T) if forward.in_one is None else forward.in_one
            look.losses_T = losses_T.detach() if len(batches) == 1 else look.losses_T + losses_T.detach()
            if reads:
                kit.processes.add(look.losses_T)
                if not kit.unread.on and (faults := found(look.tasks, look.losses_T, look.losses_T)) is not None:
                    return faults
                kit.methods.weighting.before_step(look)
                look.c_T = kit.methods.coefficients(look)
            penalty = kit.penalties.of_sharing(forward, look, len(batches))
            losses = forward.losses if forward.in_one is None else forward.in_one
            del forward  # so that the backward pass lets go of features as it goes
            (self._twice if twice else self._once)(losses, look, penalty)
        if not reads:
            kit.processes.add(look.losses_T)
        self._add_gradients(look.tasks)
        return self._faults(look)

    @within("backward")
    def _once(self, losses: Losses, look: Look, penalty: Tensor | None) -> None:
        """Every parameter gets c_t w_t of each loss."""
        torch.autograd.backward(*self._roots(losses, look, look.factors, penalty))

    @within("backward")
    def _twice(self, losses: Losses, look: Look, penalty: Tensor | None) -> None:
        """A task's own parameters get c_t of its loss, all others c_t w_t of each."""
        kit = self._kit
        names = {name for task in look.tasks for name in kit.usage.own[task]}
        own = [kit.parameters[name] for name in names]
        others = [p for name, p in kit.parameters.items() if name not in names and p.requires_grad]
        torch.autograd.backward(*self._roots(losses, look, look.c_T, penalty), inputs=own, retain_graph=True)
        torch.autograd.backward(*self._roots(losses, look, look.factors, penalty), inputs=others)

    def _roots(
        self, losses: Losses, look: Look, factors_T: Tensor, penalty: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        if isinstance(losses, Tensor):
            roots = [(losses, factors_T)] if losses.requires_grad else []
        else:
            factors = dict(zip(look.tasks, factors_T.unbind(), strict=True))
            roots = [(loss, factors[task]) for task, loss in losses.items() if loss.requires_grad]
        roots += [(penalty, torch.ones_like(penalty))] if penalty is not None else []
        return [root for root, _ in roots], [self._kit.scale.up(c.to(root)) for root, c in roots]

    def _faults(self, look: Look) -> Faults | None:
        if self._kit.unread.on:
            self._kit.unread.note(look.losses_T)
            return None
        scale = self._kit.scale
        given: list[Tensor] = []
        for parameter in self._kit.parameters.values():
            if parameter.grad is not None:
                if scale.on:
                    parameter.grad = scale.down(parameter.grad)
                given.append(parameter.grad)
        seen = [look.losses_T, look.c_T, *given, *self._kit.weighting_gradients(), *self._kit.statistics()]
        if finite(seen):
            return None
        return found(look.tasks, look.losses_T, look.losses_T) or Faults()

    def _add_gradients(self, active: Sequence[str]) -> None:
        """Sums gradients over processes: of all that an active task reaches, also where this one has none."""
        processes = self._kit.processes
        if not processes.grouped:
            return
        reached = self._kit.reached(active)
        parameters = [p for n, p in self._kit.parameters.items() if n in reached or p.grad is not None]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        processes.add_all([p.grad for p in parameters if p.grad is not None])
