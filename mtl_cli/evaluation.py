"""A model over a split: losses, metrics, and how much better than a constant."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_cli.data.base import Batch, labelled
from mtl_cli.model import MultiTaskModel, in_mode
from mtl_cli.tasks.base import Task


class Answers(NamedTuple):
    """What a task's head put out for the labelled samples of a split, in their order, with the labels; on the CPU.

    Shapes: outputs (N, width), targets (N,) or (N, C)
    """

    outputs: Tensor
    targets: Tensor


class Score(NamedTuple):
    """One task on one split; None where the split has no label, or the number is not defined on it.

    A number that is defined but not finite stays so, and the skill of one that is not a number is minus infinity.

    loss: the mean. metrics: in their units. constants: the same for the best constant fitted on train.
    skill: of the primary metric. labels: how many there are. answers: what all of it is read off.
    """

    loss: float | None
    metrics: dict[str, float | None]
    constants: dict[str, float | None]
    skill: float | None
    labels: int
    answers: Answers | None = None


class Gathered:
    """One task's outputs and targets on the CPU, and its sums."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._sums: list[Tensor] = []

    def add(self, output: Tensor, target: Tensor) -> None:
        """One batch more. Shapes: (B, width), (B,) or (B, C)"""
        mask = labelled(target)
        self._sums.append(torch.stack([self._task.loss_sum(output, target), self._task.count(target)]).cpu())
        self._outputs.append(output[mask].cpu())
        self._targets.append(target[mask].cpu())

    def score(self) -> Score:
        """What came together."""
        names = self._task.option.metrics
        targets = torch.cat(self._targets) if self._targets else torch.zeros(0)
        if len(targets) == 0:
            none: dict[str, float | None] = dict.fromkeys(names)
            return Score(None, none, none, None, 0)
        total, count = torch.stack(self._sums).double().sum(0).tolist()
        outputs = torch.cat(self._outputs)
        predictions = self._task.prediction(outputs)
        metrics = {name: self._measure(name, predictions, targets) for name in names}
        constants = {name: self._measure(name, self._constant(name, len(targets)), targets) for name in names}
        primary = self._task.option.primary
        value, constant = metrics[primary], constants[primary]
        skill = None if value is None or constant is None else self._task.skill(primary, value, constant)
        skill = -math.inf if skill is not None and math.isnan(skill) else skill
        return Score(total / count, metrics, constants, skill, len(targets), Answers(outputs, targets))

    def _measure(self, name: str, predictions: Tensor, targets: Tensor) -> float | None:
        if not self._task.defined(name, targets):
            return None
        metric = self._task.metric(name)
        metric.update(predictions, self._task.metric_target(targets))
        return float(metric.compute())

    def _constant(self, name: str, count: int) -> Tensor:
        output = torch.tensor(self._task.fitted.constants[name]).expand(count, -1)
        return self._task.prediction(output)


def evaluate(model: MultiTaskModel, tasks: Mapping[str, Task], batches: Iterable[Batch]) -> dict[str, Score]:
    """Every task's score over `batches`, in float32 and in evaluation mode; the modules' modes are put back."""
    gathered = {name: Gathered(task) for name, task in tasks.items()}
    with in_mode(model, training=False), torch.no_grad():
        for batch in batches:
            for part in batch.parts:
                outputs = model(part.inputs, list(part.targets), part.name)
                for name, output in outputs.items():
                    gathered[name].add(output, part.targets[name])
    return {name: found.score() for name, found in gathered.items()}


def selection(select: str, scores: Mapping[str, Score], tasks: Mapping[str, Task]) -> float | None:
    """What the best epoch is chosen by, higher is better; None where nothing is labelled.

    select: mean or worst over the tasks' skills, or one task's name: its primary metric.
    """
    if select in tasks:
        value = scores[select].metrics[tasks[select].option.primary]
        return None if value is None else tasks[select].signed(value)
    skills = [score.skill for score in scores.values() if score.skill is not None]
    if not skills:
        return None
    return min(skills) if select == "worst" else sum(skills) / len(skills)
