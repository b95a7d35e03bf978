"""A written file against the live model."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_cli.data.augment import prepare
from mtl_cli.data.base import Frame, Preparation
from mtl_cli.data.table.encoding import encode
from mtl_cli.model import MultiTaskModel, in_mode
from mtl_cli.options import JobError
from mtl_cli.shipping.base import Answers
from mtl_cli.shipping.shipped import Shipped
from mtl_cli.tasks.base import Task

BATCHES = (1, 2, 7)
"""One row alone, the batch that the graph was traced with, and one that is neither."""

Errors = dict[str, dict[str, float]]
"""By output and batch size."""


class Live(NamedTuple):
    """A model as evaluation runs it."""

    model: MultiTaskModel
    tasks: Mapping[str, Task]
    preparations: Mapping[str, Preparation]

    def answers(self, raw: Tensor | Frame, tasks: Sequence[str]) -> dict[str, Tensor]:
        """The named outputs of those tasks for raw inputs. Shapes: (B, ...) -> {name: (B, ...)}"""
        found: dict[str, Tensor] = {}
        with in_mode(self.model, training=False), torch.no_grad():
            for name in tasks:
                part = self.model.part_of[name]
                output = self.model(_prepared(raw, self.preparations[part]), [name], part)[name]
                found |= {f"{name}.{what}": tensor for what, tensor in self.tasks[name].readout(output).items()}
        return found


def _prepared(raw: Tensor | Frame, preparation: Preparation) -> Tensor:
    """As training has it."""
    if isinstance(raw, Tensor):
        return prepare(raw, preparation)
    assert preparation.table is not None
    return prepare(encode(raw, preparation.table), preparation)


def compare(live: Live, shipped: Shipped, answers: Answers) -> Errors:
    """The error of every output at every batch size: max |a - b| / max(1, max |a|), a the live model's."""
    errors: Errors = {}
    for rows in BATCHES:
        raw = shipped.example(rows)
        with torch.no_grad():
            found = answers(shipped.given(raw))
        for name, expected in live.answers(raw, list(shipped.tasks)).items():
            errors.setdefault(name, {})[str(rows)] = _error(expected, found.get(name))
    return errors


def judge(errors: Errors, tolerance: float) -> None:
    """Raises JobError where an error is above the tolerance, or is no number."""
    for name, by_rows in errors.items():
        for rows, error in by_rows.items():
            if not error <= tolerance:
                raise JobError(
                    f"the exported {name} differs from the model's by {error:.1e} at batch {rows}, and "
                    f"{tolerance:.0e} is allowed: nothing was kept of it"
                )


def _error(expected: Tensor, found: Tensor | None) -> float:
    if found is None or found.shape != expected.shape:
        return math.inf
    difference = float((expected - found).abs().max() / expected.abs().max().clamp(min=1))
    return difference if math.isfinite(difference) else math.inf
