"""Penalties on parameters, added after balancing."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.contracts import slot
from mtl_cli.regularizers.options import RegularizerOption

Parameters = Mapping[str, nn.Parameter]


class Held(NamedTuple):
    """The parameters that a regularizer holds, by name.

    shared: those that two or more tasks use. own: those of each task alone; a task that has none is there too.
    """

    shared: Parameters
    own: Mapping[str, Parameters]

    def all(self) -> list[nn.Parameter]:
        """Every one."""
        return [*self.shared.values(), *(p for its in self.own.values() for p in its.values())]

    def matrices(self) -> list[Tensor]:
        """Every one of two or more dimensions, as (out, in ...)."""
        return [parameter.flatten(1) for parameter in self.all() if parameter.dim() > 1]

    def corresponding(self) -> dict[str, dict[str, nn.Parameter]]:
        """Of each name that differs by the task alone, every task's parameter; a * stands for the task."""
        found: dict[str, dict[str, nn.Parameter]] = {}
        for task, its in self.own.items():
            for name, parameter in its.items():
                found.setdefault(name.replace(slot(task), "*"), {})[task] = parameter
        return found


class Relations(NamedTuple):
    """How tasks relate, by what a regularizer learned: their correlations (T, T), in this order."""

    tasks: tuple[str, ...]
    correlations: Tensor


class Regularizer(nn.Module, ABC):
    """A scalar of some parameters; what it learns is state."""

    def __init__(self, option: RegularizerOption) -> None:
        super().__init__()
        self.option = option

    def begin(self, held: Held) -> None:  # a hook that most leave empty
        """Told once, before anything is written, of all that it may hold. Raises: ConfigError: it needs what is not."""

    @abstractmethod
    def penalty(self, held: Held) -> Tensor:
        """The weighted penalty on what the step's active tasks use. Shapes: ()"""

    def after_step(self, step: int) -> None:  # a hook that most leave empty
        """Renews what is learned, after the optimizer's step."""

    def relations(self) -> Relations | None:
        """How tasks relate, where it learns that."""
        return None


def total(terms: list[Tensor]) -> Tensor:
    """Their sum. Shapes: () each -> ()"""
    return torch.stack(terms).sum() if terms else torch.zeros(())
