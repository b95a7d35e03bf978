"""A model over a split: losses, metrics, and how much better than a constant."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_cli.data.base import Batch, labelled
from mtl_cli.data.loader import EvalLoader
from mtl_cli.model import MultiTaskModel, in_mode
from mtl_cli.processes import Processes
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


class Batched(NamedTuple):
    """One task's labelled outputs and targets of one batch on the CPU, its sum of losses and what that is divided by.

    Shapes: outputs (n, width), targets (n,) or (n, C), sums (2,)
    """

    outputs: Tensor
    targets: Tensor
    sums: Tensor


class Gathered:
    """One task's outputs and targets, batch by batch."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.batches: list[Batched] = []

    def add(self, output: Tensor, target: Tensor) -> None:
        """One batch more. Shapes: (B, width), (B,) or (B, C)"""
        mask = labelled(target)
        sums = torch.stack([self._task.loss_sum(output, target), self._task.count(target)])
        self.batches.append(Batched(output[mask].cpu(), target[mask].cpu(), sums.cpu()))

    def interleave(self, dealt: Sequence[Sequence[Batched]]) -> None:
        """Takes the batches that were dealt out, one after the other, in the order that they were dealt in."""
        self.batches = [batch for turn in zip_longest(*dealt) for batch in turn if batch is not None]

    def score(self) -> Score:
        """What came together."""
        names = self._task.option.metrics
        targets = torch.cat([batch.targets for batch in self.batches]) if self.batches else torch.zeros(0)
        if len(targets) == 0:
            none: dict[str, float | None] = dict.fromkeys(names)
            return Score(None, none, none, None, 0)
        total, count = torch.stack([batch.sums for batch in self.batches]).double().sum(0).tolist()
        outputs = torch.cat([batch.outputs for batch in self.batches])
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
    return {name: found.score() for name, found in _gathered(model, tasks, batches).items()}


def evaluate_together(
    model: MultiTaskModel, tasks: Mapping[str, Task], loader: EvalLoader, processes: Processes
) -> dict[str, Score]:
    """The same, bit for bit, with the loader's batches dealt out to all processes; only the lead's has answers."""
    own = _gathered(model, tasks, loader.dealt(processes.rank, processes.size))
    dealt = processes.gathered({name: found.batches for name, found in own.items()})
    scores: dict[str, Score] = {}
    if processes.lead:
        for name, found in own.items():
            found.interleave([its[name] for its in dealt])
        scores = {name: found.score() for name, found in own.items()}
    told = processes.told(lambda: {name: score._replace(answers=None) for name, score in scores.items()})
    return scores or told


def _gathered(model: MultiTaskModel, tasks: Mapping[str, Task], batches: Iterable[Batch]) -> dict[str, Gathered]:
    gathered = {name: Gathered(task) for name, task in tasks.items()}
    with in_mode(model, training=False), torch.no_grad():
        for batch in batches:
            for part in batch.parts:
                outputs = model(part.inputs, list(part.targets), part.name)
                for name, output in outputs.items():
                    gathered[name].add(output, part.targets[name])
    return gathered


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
