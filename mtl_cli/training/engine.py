"""The one place that computes per-task gradients, and takes a step with them.

No method is asked for by name: what a weighting and an aggregation need to see decides the way.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_cli.aggregation.base import Aggregation
from mtl_cli.contracts import At, Look, Needs
from mtl_cli.data.base import Batch
from mtl_cli.draws import seed_of
from mtl_cli.model import MultiTaskModel
from mtl_cli.options import ConfigError
from mtl_cli.regularizers.base import Regularizer
from mtl_cli.tasks.base import Task
from mtl_cli.training.gradients import Gradients
from mtl_cli.training.graph import Usage, traceless
from mtl_cli.training.passes import Passes, split
from mtl_cli.training.penalties import Penalties, add_gradient
from mtl_cli.training.processes import Processes
from mtl_cli.weighting.base import Weighting


class Methods(NamedTuple):
    """What decides the update."""

    weighting: Weighting
    aggregation: Aggregation
    regularizers: Mapping[str, Regularizer]

    @property
    def needs(self) -> tuple[Needs, Needs]:
        """Of the weighting and of the aggregation."""
        return self.weighting.needs, self.aggregation.needs


class Skipped(Enum):
    """Why a step was not taken."""

    UNLABELLED = "no task has a label"
    NOT_FINITE = "a gradient is not finite"


class Settings(NamedTuple):
    """seed: of the passes' random draws. clip_norm: largest norm of the whole gradient. bf16: under autocast."""

    seed: int
    clip_norm: float | None
    bf16: bool


class Engine:
    """Takes steps: looks at losses and gradients, lets the methods decide, moves the parameters.

    Raises: ConfigError: a method needs the trunk's tensor, but shared parameters lie behind it.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task],
        methods: Methods,
        optimizer: Optimizer,
        usage: Usage,
        settings: Settings,
    ) -> None:
        self.model = model
        self.methods = methods
        self.optimizer = optimizer
        self.usage = usage
        self._tasks = tasks
        self._settings = settings
        self._passes = Passes(model, tasks, settings.bf16)
        self._processes = Processes()
        self._parameters = dict(model.named_parameters())
        self._penalties = Penalties(model, usage, methods.regularizers, self._processes.size)
        self._own_parameters = list(methods.weighting.parameters())
        self._pieces = max(needs.batches for needs in methods.needs)
        self._wanted = frozenset(n.at for n in methods.needs if n.level != "losses" and n.at != "shared")
        self._last_stage = _names(self._parameters, model.sharing.last_stage())
        self._check()

    def step(self, batches: Sequence[Batch], step: int, steps: int, heldout: Batch | None = None) -> Look | Skipped:
        """One step of the optimizer from one or more micro-batches, or why it was skipped.

        A step is skipped, and nothing moves, where no task has a label, or where the methods look at per-task
        gradients and one is not finite. A plain step waits for no such answer of the device: the loop looks at its
        losses whenever it writes them down.
        """
        active = self._active(batches)
        if not active:
            return Skipped.UNLABELLED
        self.model.train()
        self.model.sharing.before_step(step, steps)
        self.optimizer.zero_grad(set_to_none=True)
        seed = seed_of(self._settings.seed, "passes", step)
        torch.manual_seed(seed)
        counts_T = self._processes.add(self._passes.counts(batches, active))
        look = Look(tuple(active), torch.zeros_like(counts_T), counts_T, self._settings.seed, step)
        if any(needs.again for needs in self.methods.needs):
            look.again_by(lambda: self._again(batches, look, seed))
        if heldout is not None:
            look.heldout = self._look_aside(heldout, step)
        if not self._by_rows(batches):
            self._plain(batches, look)
        elif not self._balanced_or_undone(batches, look):
            return Skipped.NOT_FINITE
        self._move(look)
        return look

    def _late(self, batches: Sequence[Batch]) -> bool:
        """Whether the coefficients are known only after the last of several micro-batches."""
        return self.methods.weighting.needs.reads_losses and len(batches) > 1

    def _by_rows(self, batches: Sequence[Batch]) -> bool:
        return self._late(batches) or any(needs.level != "losses" for needs in self.methods.needs)

    def _exact(self, batches: Sequence[Batch]) -> bool:
        wanted = [needs for needs in self.methods.needs if needs.level != "losses" and needs.at == "shared"]
        return self._late(batches) or bool(wanted)

    def _balanced_or_undone(self, batches: Sequence[Batch], look: Look) -> bool:
        """Whether the step can be taken; if not, running statistics are as they were before it."""
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        if self._balanced(batches, look):
            return True
        self.optimizer.zero_grad(set_to_none=True)
        for name, buffer in self.model.named_buffers():
            buffer.copy_(before[name])
        return False

    def _plain(self, batches: Sequence[Batch], look: Look) -> None:
        """One backward pass for each micro-batch, with coefficients that are known before it."""
        reads = self.methods.needs[0].reads_losses
        if not reads:
            self.methods.weighting.before_step(look)
            look.c_T = self._coefficients(torch.ones_like(look.losses_T), look.tasks)
        for batch in batches:
            forward = self._passes.forward(batch, look.tasks, look.counts_T)
            look.losses_T = look.losses_T + torch.stack(forward.losses).detach()
            if reads:
                self._processes.add(look.losses_T)
                self.methods.weighting.before_step(look)
                look.c_T = self._coefficients(look.losses_T, look.tasks)
            penalty = self._penalties.of_sharing(forward, look, len(batches))
            roots = [(loss, c) for loss, c in zip(forward.losses, look.c_T.unbind(), strict=True) if loss.requires_grad]
            roots += [(penalty, torch.ones_like(penalty))] if penalty is not None else []
            torch.autograd.backward([root for root, _ in roots], [c.to(root) for root, c in roots])
        if not reads:
            self._processes.add(look.losses_T)
        self._add_gradients(look.tasks)

    def _balanced(self, batches: Sequence[Batch], look: Look) -> bool:
        """One backward pass for each task and micro-batch, then the aggregation's update."""
        exact = self._exact(batches)
        penalties: dict[str, Tensor] = {}
        gradients, rows = self._gradients(batches, look, exact, self._wanted, penalties)
        if exact:
            shares = self._shares(batches, look) if self._pieces > 1 else None
            look.hold(rows, shares, gradients.columns)
        else:
            look.combine_by(gradients.combine(self._processes.add))
        self._hold_elsewhere(look, gradients, rows)
        if not bool(torch.isfinite(look.losses_T.sum() + sum(r.sum() for r in rows))):
            return False
        self.methods.weighting.before_step(look)
        look.c_T = self._coefficients(look.losses_T, look.tasks)
        direction_P = self.methods.aggregation.direction(look)
        if not bool(torch.isfinite(direction_P.sum())):
            return False
        self._assign(look, gradients, direction_P)
        for name, gradient in penalties.items():
            add_gradient(self._parameters[name], gradient)
        return True

    def _gradients(
        self,
        batches: Sequence[Batch],
        look: Look,
        exact: bool,
        wanted: frozenset[At],
        penalties: dict[str, Tensor] | None,
    ) -> tuple[Gradients, list[Tensor]]:
        """Rows for each independent batch, summed over micro-batches and processes; the losses go into `look`."""
        gradients = Gradients(self._parameters, self.usage, look.tasks, exact, wanted, self._last_stage)
        width = gradients.columns[-1].stop if exact and gradients.columns else 0
        rows = [look.losses_T.new_zeros(len(look.tasks), width, dtype=self._dtype()) for _ in range(self._pieces)]
        for batch in batches:
            for k, piece in enumerate(split(batch, self._pieces)):
                forward = self._passes.forward(piece, look.tasks, look.counts_T)
                look.losses_T = look.losses_T + torch.stack(forward.losses).detach()
                if penalties is not None:
                    penalty = self._penalties.of_sharing(forward, look, len(batches) * self._pieces)
                    self._penalties.gradients(penalty, penalties)
                gradients.add(forward, rows[k])
        own = self._filled(gradients.own, [name for task in look.tasks for name in self.usage.own[task]])
        self._processes.add_all([look.losses_T, *own, *(penalties or {}).values()])
        for tensor in rows:
            self._processes.add(tensor)
        return gradients, rows

    def _assign(self, look: Look, gradients: Gradients, direction_P: Tensor) -> None:
        reached = self._reached(look.tasks)
        for column in gradients.columns:
            if column.name in reached:
                parameter = self._parameters[column.name]
                parameter.grad = direction_P[column.start : column.stop].view(column.shape).to(parameter.dtype)
        for task, c in zip(look.tasks, look.c_T.unbind(), strict=True):
            for name in self.usage.own[task]:
                if name in gradients.own:
                    self._parameters[name].grad = gradients.own[name] * c.to(gradients.own[name])

    def _move(self, look: Look) -> None:
        reached = self._reached(look.tasks)
        self._penalties.regularize(look, reached)
        if len(look.tasks) < len(self._tasks):
            self._leave_alone(reached)
        if self._settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.clip_norm)
        self.optimizer.step()
        self.model.sharing.after_step(self.model.heads_by_task())
        self.methods.weighting.after_step(look)
        self.methods.aggregation.after_step(look)

    def _leave_alone(self, reached: frozenset[str]) -> None:
        """Takes back what a penalty gave to parameters that only inactive tasks use."""
        for name, parameter in self._parameters.items():
            if name not in reached and name not in self.usage.rest:
                parameter.grad = None

    def _coefficients(self, losses_T: Tensor, active: Sequence[str]) -> Tensor:
        """c = d total / d losses, times each task's weight; the weighting's own parameters get their gradients."""
        leaf_T = losses_T.detach().requires_grad_()
        total = self.methods.weighting(leaf_T, active)
        c_T, *own = torch.autograd.grad(total, [leaf_T, *self._own_parameters], allow_unused=True)
        for parameter, gradient in zip(self._own_parameters, own, strict=True):
            parameter.grad = gradient
        return c_T * c_T.new_tensor([self._tasks[task].option.weight for task in active])

    def _again(self, batches: Sequence[Batch], look: Look, seed: int) -> Tensor:
        losses_T = torch.zeros_like(look.losses_T)
        with traceless(self.model), torch.no_grad():
            torch.manual_seed(seed)
            for batch in batches:
                for piece in split(batch, self._pieces if self._by_rows(batches) else 1):
                    losses_T = losses_T + torch.stack(self._passes.forward(piece, look.tasks, look.counts_T).losses)
        return self._processes.add(losses_T)

    def _look_aside(self, batch: Batch, step: int) -> Look | None:
        """Losses and rows of a batch that is not trained on, if it has a label; leaves no trace."""
        active = self._active([batch])
        if not active:
            return None
        counts_T = self._processes.add(self._passes.counts([batch], active))
        look = Look(tuple(active), torch.zeros_like(counts_T), counts_T, self._settings.seed, step)
        with traceless(self.model):
            gradients, rows = self._gradients([batch], look, exact=True, wanted=frozenset(), penalties=None)
        look.hold(rows, None, gradients.columns)
        return look

    def _hold_elsewhere(self, look: Look, gradients: Gradients, rows: list[Tensor]) -> None:
        if "last_stage" in self._wanted:
            found = gradients.last_stage_rows(sum(rows[1:], rows[0]))
            look.hold_at("last_stage", found if gradients.exact else self._processes.add(found), lambda g: g)
        if "trunk" in self._wanted:
            look.hold_at("trunk", gradients.trunk_rows(), self._processes.add)

    def _shares(self, batches: Sequence[Batch], look: Look) -> Tensor:
        pieces = [[split(batch, self._pieces)[k] for batch in batches] for k in range(self._pieces)]
        counts_KT = torch.stack([self._passes.counts(piece, look.tasks) for piece in pieces])
        return self._processes.add(counts_KT) / look.counts_T

    def _add_gradients(self, active: Sequence[str]) -> None:
        """Sums gradients over processes: of all that an active task reaches, also where this one has none."""
        if not self._processes.grouped:
            return
        reached = self._reached(active)
        parameters = [p for n, p in self._parameters.items() if n in reached or p.grad is not None]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._processes.add_all([p.grad for p in parameters if p.grad is not None])

    def _reached(self, active: Sequence[str]) -> frozenset[str]:
        """Names of the parameters that an active task reaches."""
        return frozenset[str]().union(*(self.usage.of[task] for task in active))

    def _filled(self, gradients: dict[str, Tensor], names: Sequence[str]) -> list[Tensor]:
        if self._processes.grouped:
            for name in names:
                gradients.setdefault(name, torch.zeros_like(self._parameters[name]))
        return [gradients[name] for name in names if name in gradients]

    def _active(self, batches: Sequence[Batch]) -> list[str]:
        """Tasks with a label in any of these batches, on any process."""
        active = self._passes.active(batches)
        if not self._processes.grouped:
            return active
        flags = next(self.model.parameters()).new_tensor([float(task in active) for task in self._tasks])
        return [task for task, flag in zip(self._tasks, self._processes.add(flags).tolist(), strict=True) if flag > 0]

    def _dtype(self) -> torch.dtype:
        return next(iter(self._parameters.values())).dtype

    def _check(self) -> None:
        stepped = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if any(id(p) not in stepped for p in self._own_parameters):
            raise ValueError("weighting.groups() should name all of its parameters. Found one that nobody steps.")
        if "trunk" in self._wanted and not self.usage.bottleneck:
            raise ConfigError("the method needs one tensor that all shared parameters lie before: take sharing=hard")
        if self._pieces > 1 and self._wanted:
            raise ConfigError("independent batches are looked at over all shared parameters only: take gradients there")


def _names(parameters: Mapping[str, nn.Parameter], wanted: Sequence[nn.Parameter]) -> frozenset[str]:
    ids = {id(parameter) for parameter in wanted}
    return frozenset(name for name, parameter in parameters.items() if id(parameter) in ids)
