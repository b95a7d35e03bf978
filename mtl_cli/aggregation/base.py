"""Per-task gradients to one update of the shared parameters."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtl_cli.contracts import Column, Look, Needs


class Aggregation(nn.Module, ABC):
    """Sees a look, never a model; built from (option, task names).

    State is tensors, keyed by task name; `direction` moves none, and neither does a skipped step.
    """

    needs: Needs

    @abstractmethod
    def direction(self, look: Look) -> Tensor:
        """What takes the place of the shared parameters' gradient. Shapes: (P,)"""

    def after_step(self, look: Look) -> None:  # a hook that most leave empty
        """Moves its state, after the optimizer's step."""


class WeightedAggregation(Aggregation, ABC):
    """An aggregation whose update is a weighted sum of the tasks' gradients."""

    @abstractmethod
    def weights(self, look: Look) -> Tensor:
        """One weight for each active task. Shapes: (T,)"""

    def direction(self, look: Look) -> Tensor:
        """sum_t w_t c_t g_t."""
        return look.combine(self.weights(look))


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
