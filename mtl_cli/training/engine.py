"""The one place that computes per-task gradients, and takes a step with them.

No method is asked for by name: what a weighting and an aggregation need to see decides the way.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_cli.data.base import Batch
from mtl_cli.draws import seed_of, seed_passes
from mtl_cli.look import Look, constant
from mtl_cli.model import MultiTaskModel
from mtl_cli.options import ConfigError
from mtl_cli.processes import Processes
from mtl_cli.tasks.base import Task
from mtl_cli.training.balanced import Balanced
from mtl_cli.training.faults import Faults
from mtl_cli.training.graph import Usage, traceless
from mtl_cli.training.kit import Kit
from mtl_cli.training.methods import Methods
from mtl_cli.training.passes import Passes, split, stacked
from mtl_cli.training.penalties import Penalties
from mtl_cli.training.plain import Plain
from mtl_cli.training.scale import LossScale
from mtl_cli.training.spans import span
from mtl_cli.training.spread import spread
from mtl_cli.training.together import APART
from mtl_cli.training.undo import Undo
from mtl_cli.training.unread import Unread


class Reason(Enum):
    """Why a step was not taken."""

    UNLABELLED = "no task has a label"
    OVERFLOW = "a gradient overflowed in float16"
    NOT_FINITE = "not finite"


class Skipped(NamedTuple):
    """A step that was not taken, and whose loss or gradient is at fault."""

    reason: Reason
    faults: Faults


class Settings(NamedTuple):
    """seed: of the passes' random draws. clip_norm: largest norm of the whole gradient. half: autocast's type.

    on_nonfinite: what is left out where a loss or gradient is not finite: that task, or the step (stop: the caller's).
    synchronised: whether batch norm is over the rows of all processes.
    read_later: whether the caller asks `Engine.unread` later on what of a step is not finite.
    """

    seed: int
    clip_norm: float | None
    half: torch.dtype | None
    on_nonfinite: Literal["stop", "skip_task", "skip_step"] = "stop"
    synchronised: bool = True
    read_later: bool = False


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
        self.scale = LossScale(settings.half is torch.float16)
        self.balanced = bool(usage.shared)
        """Whether there is something shared for the aggregation to balance."""
        self.spent = 0.0
        """Seconds that the last step's gradients took."""
        self._tasks = tasks
        self._settings = settings
        alone = not Processes().grouped and not self.scale.on and not methods.regularizers
        self.unread = Unread(self._held, settings.read_later and alone)
        """Of steps on losses or a Gramian; several processes, a loss scale and regularizers ask at once."""
        self._kit = self._equip()
        self.passes = self._kit.passes
        self._plain = Plain(self._kit, self.balanced)
        last_stage = _names(self._kit.parameters, model.sharing.last_stage()) & frozenset(usage.shared)
        # where a frozen backbone leaves none of it, what is shared lies outside of the stages, and is as cheap
        last_stage = last_stage or frozenset(usage.shared)
        self.by_task = Balanced(self._kit, last_stage, self.balanced)
        self._undoing = Undo([*model.buffers(), *methods.weighting.state_dict().values()])
        """Running statistics, and the state of a weighting."""
        self._check()

    @property
    def may_join_parts(self) -> bool:
        """Whether all parts may go through one pass, and steps are other ones by it."""
        looks = any(needs.level != "losses" for needs in self.methods.needs)
        return self.passes.may.layered or (self.passes.may.alike and not looks)

    @property
    def may_leave_out(self) -> bool:
        """Whether rows may leave layers out: methods look at the Gramian over all that is shared, and not at rows."""
        asked = [needs for needs in self.methods.needs if needs.level != "losses"]
        fine = all(n.at == "shared" and n.level in ("norms", "gramian") and n.batches == 1 for n in asked)
        return self.balanced and bool(asked) and fine

    @property
    def may_join_tasks(self) -> bool:
        """Whether one backward pass may give the rows of several tasks, on a device where that may be faster."""
        asked = [needs for needs in self.methods.needs if needs.level != "losses"]
        several = max(Counter(self.model.part_of.values()).values()) > 1
        exact = bool(asked) and all(needs.at == "shared" for needs in asked)
        eager = not self.model.compiled  # what is compiled has no batched backward pass
        return self.balanced and exact and several and eager and self.device.type != "cpu"

    @property
    def device(self) -> torch.device:
        """Where steps are taken."""
        return next(self.model.parameters()).device

    def step(self, batches: Sequence[Batch], step: int, steps: int, heldout: Batch | None = None) -> Look | Skipped:
        """One step of the optimizer from one or more micro-batches, or why it was skipped.

        A step is skipped, and nothing moves, where no task has a label, or a loss, gradient or update is not finite:
        by `on_nonfinite` it is then taken by the other tasks alone, whose names the look has, with the others' faults.
        """
        if not self.model.training:
            self.model.train()
        self.model.sharing.before_step(step, steps)
        active, left_out = self._kit.passes.active(batches), Faults()
        while active:
            look = self._new_look(batches, active, step)
            faults = self._attempt(batches, look, heldout)
            if faults is None:
                look.left_out = left_out.tasks
                self._move(look)
                return look
            if not faults.losses and self.scale.overflowed():
                return Skipped(Reason.OVERFLOW, faults)
            left_out = left_out.beside(faults)
            if self._settings.on_nonfinite != "skip_task" or not faults.tasks:
                break
            active = [task for task in active if task not in faults.tasks]
        return Skipped(Reason.NOT_FINITE if active or left_out.tasks else Reason.UNLABELLED, left_out)

    def plain_gradients(self, batches: Sequence[Batch], look: Look) -> None:
        """What a step of the plain sum would compute of these batches; leaves no trace."""
        with traceless(self.model):
            for batch in batches:
                forward = self._kit.passes.forward(batch, look.tasks, look.counts_T)
                reached = self._kit.reached(look.tasks)
                parameters = [p for name, p in self._kit.parameters.items() if name in reached]
                torch.autograd.grad(torch.stack(list(forward.losses.values())).sum(), parameters, allow_unused=True)

    def _attempt(self, batches: Sequence[Batch], look: Look, heldout: Batch | None) -> Faults | None:
        """Puts the step's gradients on the parameters; or says what is not finite, with all as it was before."""
        self.optimizer.zero_grad(set_to_none=True)
        seed = seed_of(self._settings.seed, "passes", look.step)
        seed_passes(seed, look.losses_T.device)
        wants = self.methods.wants(look, self.balanced)
        by_task = wants.any or self.by_task.late(batches)
        if any(needs.again for needs in self.methods.needs):
            look.again_by(lambda: self._again(batches, look, seed, wants.pieces))
        if heldout is not None:
            look.heldout = self._look_aside(heldout, look.step)
        self._undoing.remember()
        begun = time.perf_counter()
        try:
            faults = self.by_task.take(batches, look, wants) if by_task else self._plain.take(batches, look)
        except Exception:
            self._undo()
            raise
        self.spent = time.perf_counter() - begun
        if faults is None and self._kit.penalties.regularize(look, self._kit.reached(look.tasks)):
            self.scale.went_well()
            return None
        self._undo()
        faults = faults or Faults()
        named = faults.tasks or (by_task and not self.by_task.blurred)
        return faults if named else self._named(batches, look, seed)

    def _undo(self) -> None:
        """Forgets a step's gradients, and puts back what they moved on the way."""
        self.optimizer.zero_grad(set_to_none=True)
        self._undoing.restore()

    def _named(self, batches: Sequence[Batch], look: Look, seed: int) -> Faults:
        """Whose gradients are at fault where one backward pass did not tell."""
        with traceless(self.model):
            seed_passes(seed, look.losses_T.device)
            return self.by_task.faults(batches, look)

    def _move(self, look: Look) -> None:
        reached = self._kit.reached(look.tasks)
        if len(look.tasks) < len(self._tasks):
            self._leave_alone(reached)
        with span("optimizer"):
            if self._settings.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.clip_norm)
            self.optimizer.step()
        self.model.sharing.after_step(self.model.heads_by_task())
        self._kit.penalties.after_step(look.step)
        with span("balancing"):
            self.methods.weighting.after_step(look)
            if self.balanced:
                self.methods.aggregation.after_step(look)
        look.close()

    def _leave_alone(self, reached: frozenset[str]) -> None:
        """Takes back what a penalty gave to parameters that only inactive tasks use."""
        for name, parameter in self._kit.parameters.items():
            if name not in reached and name not in self.usage.rest:
                parameter.grad = None

    def _again(self, batches: Sequence[Batch], look: Look, seed: int, pieces: int) -> Tensor:
        losses_T = torch.zeros_like(look.losses_T)
        passes = self._kit.passes
        with traceless(self.model), torch.no_grad():
            seed_passes(seed, look.losses_T.device)
            for batch in batches:
                for piece in split(batch, pieces):
                    forward = passes.forward(piece, look.tasks, look.counts_T)
                    losses_T = losses_T + stacked(forward.losses, look.tasks, losses_T)
        return self._kit.processes.add(losses_T)

    def _look_aside(self, batch: Batch, step: int) -> Look | None:
        """Losses and rows of a batch that is not trained on, if it has a label; leaves no trace."""
        active = self._kit.passes.active([batch])
        if not active:
            return None
        look = self._new_look([batch], active, step)
        with traceless(self.model):
            self.by_task.aside(batch, look)
        return look

    def _held(self) -> list[Tensor]:
        """What steps move and has to be finite: parameters, running statistics."""
        held = [*self.model.parameters(), *self.methods.weighting.own, *self.model.buffers()]
        return [tensor.detach() for tensor in held if tensor.is_floating_point()]

    def _new_look(self, batches: Sequence[Batch], active: Sequence[str], step: int) -> Look:
        counts_T = self._kit.passes.totals(batches, active, self._kit.processes.add)
        look = Look(tuple(active), constant(0.0, counts_T), counts_T, self._settings.seed, step)
        look.at = self.methods.aggregation.needs.at
        return look

    def _equip(self) -> Kit:
        model, methods, processes = self.model, self.methods, Processes()
        told = spread(model, processes, self._settings.synchronised)
        may = APART if processes.grouped else self.usage.together
        return Kit(
            dict(model.named_parameters()),
            list(model.buffers()),
            methods,
            self.usage,
            Passes(model, self._tasks, self._settings.half, told, may),
            Penalties(model, self.usage, methods.regularizers, self.scale, processes),
            processes,
            self.scale,
            apart=processes.grouped and not self._settings.synchronised,
            unread=self.unread,
        )

    def _check(self) -> None:
        stepped = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if any(id(p) not in stepped for p in self.methods.weighting.parameters()):
            raise ValueError("weighting.groups() should name all of its parameters. Found one that nobody steps.")
        asked = [needs for needs in self.methods.needs if needs.level != "losses"]
        if any(needs.at == "trunk" for needs in asked) and not self.usage.bottleneck:
            raise ConfigError("the method needs one tensor that all shared parameters lie before: take sharing=hard")
        if any(needs.at != "shared" and needs.batches > 1 for needs in asked):
            raise ConfigError("independent batches are looked at over all shared parameters only: take gradients there")


def _names(parameters: Mapping[str, nn.Parameter], wanted: Sequence[nn.Parameter]) -> frozenset[str]:
    ids = {id(parameter) for parameter in wanted}
    return frozenset(name for name, parameter in parameters.items() if id(parameter) in ids)
