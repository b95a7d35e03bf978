"""Per-task gradients to one update of the shared parameters."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_cli.aggregation.options import AGGREGATIONS, GramianOption, RenewedOption, WeightedOption
from mtl_cli.beneath import packaged
from mtl_cli.contracts import Column, Needs, slot
from mtl_cli.look import Look
from mtl_cli.options import Option


class Aggregation(nn.Module, ABC):
    """Sees a look, never a model; built from (option, task names).

    State is tensors on the CPU, but for rows (RowMemory), keyed by task name; `direction` moves none, and neither does
    a skipped step. What `direction` computes and `after_step` wants again lies in `look.kept`: each step calls one
    after the other with the same look.

    rows_kept: how many rows (P,) each task has in its state.
    scale_task_parameters: whether a task's own parameters get its weight too.
    """

    needs: Needs
    rows_kept: int = 0
    scale_task_parameters: bool = False

    def needs_now(self, look: Look) -> Needs:
        """What it wants to see in this step, which is begun: never more than `needs`.

        Where that is `losses`, the step asks `weights` alone, and takes one backward pass.
        """
        return self.needs

    @abstractmethod
    def direction(self, look: Look) -> Tensor:
        """What takes the place of the shared parameters' gradient. Shapes: (P,)"""

    def after_step(self, look: Look) -> None:  # a hook that most leave empty
        """Moves its state, after the optimizer's step."""

    def after_epoch(self, means: Mapping[str, float]) -> None:  # a hook that most leave empty
        """Moves its state at the end of an epoch, from the mean loss of each task that was active in it."""


class WeightedAggregation(Aggregation, ABC):
    """An aggregation whose update is a weighted sum of the tasks' gradients.

    combines: which independent batch's gradients the sum is of; None: of the whole batch's.
    """

    combines: int | None = None

    @abstractmethod
    def weights(self, look: Look) -> Tensor:
        """One weight for each active task. Shapes: (T,), float64 on the CPU"""

    def direction(self, look: Look) -> Tensor:
        """sum_t w_t c_t g_t."""
        return look.combine(self.weights(look), self.combines)


class GramianAggregation(WeightedAggregation, ABC):
    """Weights from the Gramian; a task whose gradient is zero has the weight 0, and the others never see it.

    `solve` and `advance` get a look at the tasks whose gradient is not zero, of which there is at least one.

    Args:
        option: where the gradients are taken, and whether task parameters are scaled too.
        tasks: names of all tasks.
    """

    def __init__(self, option: WeightedOption, tasks: Sequence[str]) -> None:
        super().__init__()
        self.scale_task_parameters = option.scale_task_parameters
        self._advances = type(self).advance is not GramianAggregation.advance
        if isinstance(option, GramianOption):
            self.needs = self.needs._replace(at="trunk" if option.gradients == "bottleneck" else option.gradients)

    @abstractmethod
    def solve(self, look: Look) -> Tensor:
        """One weight for each task of the look; moves no state. Shapes: (T,), float64 on the CPU"""

    def advance(self, look: Look) -> None:  # a hook that most leave empty
        """Moves its state, after the optimizer's step."""

    def weights(self, look: Look) -> Tensor:
        """The solver's weights; 0 for a gradient of norm zero."""
        moving = look.moving()
        if len(moving) == len(look.tasks):
            return self.solve(look)
        weights_T = torch.zeros(len(look.tasks), dtype=torch.float64)
        if moving:
            weights_T[moving] = self.solve(look.only(moving))
        return weights_T

    def after_step(self, look: Look) -> None:
        """Moves the state of the tasks whose gradient is not zero."""
        moving = look.moving() if self._advances else []
        if moving:
            self.advance(look if len(moving) == len(look.tasks) else look.only(moving))


class Renewed(WeightedAggregation):
    """Another's weights, kept for some steps: renewed every so many, and whenever the set of active tasks changes.

    Between two renewals a step is one backward pass, as with the plain sum.

    State: the weights under task names (NaN: not in the set), and the steps since they were renewed.
    """

    def __init__(self, inner: WeightedAggregation, every: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.inner = inner
        self.needs = inner.needs
        self.combines = inner.combines
        self.scale_task_parameters = inner.scale_task_parameters
        self._every = every
        self._tasks = tuple(tasks)
        self.register_buffer("since", torch.zeros((), dtype=torch.int64))
        for task in tasks:
            self.register_buffer(f"kept_{slot(task)}", torch.full((), torch.nan, dtype=torch.float64))

    def needs_now(self, look: Look) -> Needs:
        """The other's where the weights are renewed, else nothing."""
        return self.inner.needs_now(look) if self._due(look) else Needs(reads_losses=False)

    def weights(self, look: Look) -> Tensor:
        """New ones, or those kept."""
        if self._due(look):
            return self.inner.weights(look)
        return torch.stack([self._kept(task) for task in look.tasks])

    def after_step(self, look: Look) -> None:
        """Keeps new weights, or counts the step."""
        if not self._due(look):
            self.get_buffer("since").add_(1)
            return
        self.inner.after_step(look)
        found = dict(zip(look.tasks, look.weights_T, strict=True))
        for task in self._tasks:
            self._kept(task).copy_(found.get(task, torch.tensor(torch.nan)))
        self.get_buffer("since").fill_(1)

    def after_epoch(self, means: Mapping[str, float]) -> None:
        """The other's."""
        self.inner.after_epoch(means)

    def _due(self, look: Look) -> bool:
        kept = [task for task in self._tasks if not bool(self._kept(task).isnan())]
        return int(self.get_buffer("since")) % self._every == 0 or set(kept) != set(look.tasks)

    def _kept(self, task: str) -> Tensor:
        return self.get_buffer(f"kept_{slot(task)}")


class RowMemory(nn.Module):
    """A row of P numbers for each task, on the rows' device; in a state dict keyed by task and parameter name."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: tuple[Column, ...] = ()
        self._rows: dict[str, Tensor] = {}

    def get(self, task: str) -> Tensor | None:
        """The row of one task, or None where it has none yet. Shapes: (P,)"""
        return self._rows.get(task)

    def put(self, task: str, row_P: Tensor, columns: tuple[Column, ...]) -> None:
        """Keeps a row."""
        self._columns = columns
        self._rows[task] = row_P

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for task, row_P in self._rows.items():
            for column in self._columns:
                destination[f"{prefix}{task}/{column.name}"] = row_P[column.start : column.stop].view(column.shape)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        self._rows.clear()
        found: dict[str, list[tuple[str, Tensor]]] = {}
        for key, tensor in state_dict.items():
            if key.startswith(prefix):
                task, _, parameter = key.removeprefix(prefix).partition("/")
                found.setdefault(task, []).append((parameter, tensor))
        for task, parameters in found.items():
            start, columns = 0, []
            for name, tensor in parameters:
                columns.append(Column(name, start, tensor.shape))
                start += tensor.numel()
            self.put(task, torch.cat([tensor.flatten() for _, tensor in parameters]), tuple(columns))


def make(option: Option, tasks: Sequence[str]) -> Aggregation:
    """The aggregation of an option, its weights renewed as often as that says.

    Raises: ConfigError: the options do not go together.
    """
    aggregation: Aggregation = AGGREGATIONS.target(option)(option, tasks)
    if isinstance(option, RenewedOption) and option.every > 1:
        assert isinstance(aggregation, WeightedAggregation)
        return Renewed(aggregation, option.every, tasks)
    return aggregation


class Standalone:
    """An aggregation outside of a training run: each call is one step, and moves its state as a step would.

    Args:
        aggregation: the method.
        tasks: names of all tasks, the order of rows and losses.
    """

    def __init__(self, aggregation: Aggregation, tasks: Sequence[str]) -> None:
        self.aggregation = aggregation
        self._tasks = tuple(tasks)
        self._steps = 0

    def from_gramian(self, gramian_TT: Tensor, losses_T: Tensor, tasks: Sequence[str] | None = None) -> Tensor:
        """The weights of a step in which the task gradients have this Gramian.

        tasks: the active ones, the order of rows and losses; None: all.

        Shapes: (T, T), (T,) -> (T,) float64
        Raises: ValueError: the method gives no weights, or wants to see rows.
        """
        if not isinstance(self.aggregation, WeightedAggregation) or self.aggregation.needs.level == "rows":
            raise ValueError(f"from_gramian wants a method on Gramians. Found {type(self.aggregation).__name__}.")
        look = self._look(losses_T, tasks)
        look.hold_gramian(gramian_TT)
        look.weigh(self.aggregation.weights(look))
        self.aggregation.after_step(look)
        return look.weights_T

    def from_rows(self, rows_TP: Tensor, losses_T: Tensor, tasks: Sequence[str] | None = None) -> Tensor:
        """The update of a step with these task gradients.

        tasks: the active ones, the order of rows and losses; None: all.

        Shapes: (T, P), (T,) -> (P,)
        """
        look = self._look(losses_T.to(rows_TP), tasks)
        columns = (Column("rows", 0, rows_TP.shape[1:]),)
        look.hold([rows_TP], None, columns)
        look.hold_at("trunk", rows_TP, lambda gramian_TT: gramian_TT)
        look.hold_at("last_stage", rows_TP, lambda gramian_TT: gramian_TT)
        look.hold_trunk(torch.ones_like(rows_TP[:1]), lambda gradient_BD: gradient_BD.sum(0))
        direction_P = self.aggregation.direction(look)
        self.aggregation.after_step(look)
        return direction_P

    def _look(self, losses_T: Tensor, tasks: Sequence[str] | None) -> Look:
        look = Look(tuple(tasks or self._tasks), losses_T.detach(), torch.ones_like(losses_T), 0, self._steps)
        look.at = self.aggregation.needs.at
        self._steps += 1
        return look


def build(name: str, task_names: Sequence[str], **options: Any) -> Standalone:
    """An aggregation by its name, with its YAML's defaults but for `options`, for use outside of a training run.

    Raises: ConfigError: no such name or option.
    """
    return Standalone(make(packaged(AGGREGATIONS, name, options), task_names), task_names)
