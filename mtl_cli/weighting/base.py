"""Loss values to a weight for each task."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from mtl_cli.beneath import packaged
from mtl_cli.contracts import Column, Group, LossFacts, Needs, slot
from mtl_cli.look import Look
from mtl_cli.options import JobError, Option
from mtl_cli.weighting.options import WEIGHTINGS

EPSILON = 1e-8
"""Added to a loss before its logarithm or its reciprocal is taken: a loss of nought has finite coefficients."""


class Weighting(nn.Module, ABC):
    """A scalar made of the active tasks' losses; built from (option, facts of each task's loss by task name).

    The step takes c = d total / d losses as each task's coefficient; `tasks.*.weight` multiplies it. State is
    tensors, keyed by task name; `forward` moves none, and neither does a skipped step. What `forward` computes and
    `after_step` wants again may lie in `look.kept`.
    """

    needs: Needs = Needs()
    sums = False
    """Whether its total is the sum of the losses, so that its coefficients are known to be 1."""

    def __init__(self, losses: Mapping[str, LossFacts]) -> None:
        super().__init__()
        self.losses = dict(losses)

    @property
    def on_host(self) -> bool:
        """Whether its state lies on the host: where no coefficient reads losses, none has to come from the device."""
        return not self.needs.reads_losses

    def placed(self, device: torch.device) -> Self:
        """It, with its state where it decides."""
        return self if self.on_host else self.to(device)

    @abstractmethod
    def forward(self, losses_T: Tensor, look: Look) -> Tensor:
        """The total, differentiable in the losses and in the weighting's own parameters.

        losses_T: those of `look.tasks`; ones on the host, where `needs` says that no coefficient reads them.
        look: for the names of the active tasks, a draw, and what else its needs declare.

        Shapes: (T,) -> ()
        """

    @cached_property
    def own(self) -> tuple[nn.Parameter, ...]:
        """Its parameters; the same ones as long as it lives, and a module takes long to name them."""
        return tuple(self.parameters())

    def before_step(self, look: Look) -> None:  # a hook that most leave empty
        """Sees the losses, and the gradients that its needs declare, before the coefficients are taken."""

    def after_step(self, look: Look) -> None:  # a hook that most leave empty
        """Moves its state, after the optimizer's step; the look's tensors may lie on another device than it."""

    def after_epoch(self, means: Mapping[str, float]) -> None:  # a hook that most leave empty
        """Moves its state at the end of an epoch, from the mean loss of each task that was active in it."""

    def groups(self) -> list[Group]:
        """Its own parameters, with a learning rate of their own; stepped by the run's optimizer."""
        return []


class Numbers(nn.Module):
    """One number for each task, a buffer under its name: part of a weighting's state.

    Args:   start: what each is at first; a whole number makes whole numbers of them.
    """

    def __init__(self, tasks: Iterable[str], start: float) -> None:
        super().__init__()
        for task in tasks:
            self.register_buffer(slot(task), torch.tensor(start))

    def of(self, tasks: Sequence[str]) -> Tensor:
        """Copies of those tasks' numbers. Shapes: (T,)"""
        return torch.stack([self.get_buffer(slot(task)) for task in tasks])

    def put(self, tasks: Sequence[str], values_T: Tensor) -> None:
        """Takes new ones; the other tasks' wait."""
        for task, value in zip(tasks, values_T.unbind(), strict=True):
            self.get_buffer(slot(task)).copy_(value)


def refuse_below(look: Look, lowest_T: Tensor | float, method: str, remedy: str) -> None:
    """Stops at the first loss that a method is not made for.

    Raises: JobError: a loss is below `lowest_T`; names task, loss, step and method.
    """
    below_T = look.losses_T < lowest_T
    if bool(below_T.any()):
        t = int(below_T.nonzero()[0])
        found = f"{float(look.losses_T[t]):.4g} for {look.tasks[t]} at step {look.step + 1}"
        least = float(lowest_T[t]) if isinstance(lowest_T, Tensor) else lowest_T
        raise JobError(f"weighting={method} wants losses of at least {least:.4g}. Found {found}: {remedy}")


class Standalone(nn.Module):
    """A weighting outside of a training run: each call is one step, and moves its state as a step would.

    Its parameters, where it has any, are for the caller's optimizer; epochs are told by `weighting.after_epoch`. A
    method that looks at gradients moves its state where a call shows them, one that looks again in `again`: between the
    two is no moment to save.

    Args:
        weighting: the method.
        tasks: names of all tasks, the order of the losses.
    """

    def __init__(self, weighting: Weighting, tasks: Sequence[str]) -> None:
        super().__init__()
        self.weighting = weighting
        self._tasks = tuple(tasks)
        self._look: Look | None = None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(
        self,
        losses_T: Tensor,
        tasks: Sequence[str] | None = None,
        rows_TP: Tensor | None = None,
        heldout_TP: Tensor | None = None,
    ) -> Tensor:
        """The total of a step with these losses.

        tasks: the active ones, the order of the losses; None: all.
        rows_TP, heldout_TP: the losses' gradients, and those of the same tasks on held-out data.

        Shapes: (T,) -> ()
        """
        look = self._shown(losses_T, tuple(tasks or self._tasks), rows_TP)
        look.heldout = None if heldout_TP is None else self._shown(losses_T, look.tasks, heldout_TP)
        seen = rows_TP is not None or self.weighting.needs.level == "losses"
        if seen:
            self.weighting.before_step(look)
        total: Tensor = self.weighting(losses_T, look)
        look.c_T = torch.autograd.grad(total, losses_T, retain_graph=True)[0] if losses_T.requires_grad else look.c_T
        if seen and not self.weighting.needs.again:
            self.weighting.after_step(look)
        self._look = look
        self.get_buffer("steps").add_(1)
        return total

    def again(self, losses_T: Tensor) -> None:
        """Moves the state of a method that looks again: the losses of the last call's batch after its step.

        Raises: ValueError: the method looks once, or there was no call.
        """
        if self._look is None or not self.weighting.needs.again:
            raise ValueError(
                f"again wants a call before it and a method that looks again. Found {type(self.weighting).__name__}."
            )
        look, self._look = self._look, None
        look.again_by(losses_T.detach)
        self.weighting.after_step(look)

    def _shown(self, losses_T: Tensor, tasks: tuple[str, ...], rows_TP: Tensor | None) -> Look:
        detached_T = losses_T.detach()
        look = Look(tasks, detached_T, torch.ones_like(detached_T), 0, int(self.get_buffer("steps")))
        if rows_TP is not None:
            look.hold([rows_TP.detach()], None, (Column("rows", 0, rows_TP.shape[1:]),))
            look.hold_at("last_stage", rows_TP.detach(), lambda gramian_TT: gramian_TT)
            look.own = {task: {} for task in tasks}
        return look


def make(option: Option, losses: Mapping[str, LossFacts]) -> Weighting:
    """The weighting of an option."""
    weighting: Weighting = WEIGHTINGS.target(option)(option, losses)
    return weighting


def build(name: str, task_names: Sequence[str], **options: Any) -> Standalone:
    """A weighting by its name, with its YAML's defaults but for `options`, for use outside of a training run.

    Raises: ConfigError: no such name or option.
    """
    losses = dict.fromkeys(task_names, LossFacts())
    return Standalone(make(packaged(WEIGHTINGS, name, options), losses), task_names)
