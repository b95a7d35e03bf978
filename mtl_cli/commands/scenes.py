"""What the pictures of a run show, as plain values."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtl_cli.commands.assemble import Built
from mtl_cli.commands.facts import calibration_error
from mtl_cli.data.augment import restored
from mtl_cli.data.base import PartData, Preparation, labelled
from mtl_cli.data.loader import TrainLoader
from mtl_cli.evaluation import Answers, Score
from mtl_cli.regularizers.base import Regularizer
from mtl_cli.reporting.metric_log import read_events
from mtl_cli.reporting.plots.scene import (
    Answered,
    Classed,
    Grid,
    Line,
    Measured,
    Metric,
    Pixels,
    Related,
    Sample,
    Scene,
    Tagged,
    TaskScene,
)
from mtl_cli.reporting.wording import number
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.options import METRICS
from mtl_cli.tasks.options import Metric as MetricFacts

BySplit = Mapping[str, Mapping[str, Score]]
"""Scores by split and task."""
WORST = 16
SHOWN = 24
FEWER = 16
HALF = 0.5
FITS = 20
"""Characters of tags that stand beneath an image."""
NO_TAG = "(no tag)"
NAMED = 5
"""With more tasks than this, fewer images are shown, and their labels stand beneath them without the tasks' names."""


def scene(task_set: str, built: Built, run_dir: Path, split: str, epoch: int, scores: BySplit) -> Scene:
    """All of it; `split` and val must be in the scores."""
    data = built.data
    events = tuple(event for event in read_events(run_dir / "metrics.jsonl") if event["event"] == "epoch")
    tasks = tuple(
        _task(task, scores[split][name], scores["val"][name], data.splits[split][data.part_of[name]], built.device)
        for name, task in data.tasks.items()
    )
    return Scene(
        task_set,
        split,
        epoch,
        tasks,
        events,
        tuple(training_inputs(data.tasks, data.known.preparations, built.loaders.train)),
        tuple(_related(built.engine.methods.regularizers)),
    )


def _related(regularizers: Mapping[str, Regularizer]) -> Iterator[Related]:
    """How tasks relate, by what each regularizer learned."""
    for name, regularizer in regularizers.items():
        found = regularizer.relations()
        if found is not None:
            yield Related(name, found.tasks, found.correlations.cpu().numpy())


def losses(task: Task, answers: Answers, device: torch.device) -> Tensor:
    """Each sample's share of the task's summed loss. Shapes: -> (N,)"""
    outputs, targets = answers.outputs.to(device), answers.targets.to(device)
    return torch.vmap(lambda output, target: task.loss_sum(output[None], target[None]))(outputs, targets).cpu()


def _task(task: Task, score: Score, val: Score, data: PartData, device: torch.device) -> TaskScene:
    facts = METRICS[str(task.option.__struct_config__.tag)]
    primary = task.option.primary
    names = [primary, *(name for name in task.option.metrics if name != primary)]
    metrics = tuple(Metric(name, _scale(facts[name]), val.constants[name]) for name in names)
    words = f"{primary} {number(score.metrics[primary])}"
    return TaskScene(task.name, metrics, words, _answers(task, score), tuple(_worst(task, score, data, device)))


def _scale(facts: MetricFacts) -> Literal["share", "skill", "unit"]:
    if facts.bounded:
        return "share"
    return "skill" if facts.skill else "unit"


def _answers(task: Task, score: Score) -> Answered | None:
    if score.answers is None:
        return None
    found = task.readout(score.answers.outputs)
    targets = score.answers.targets
    error = calibration_error(task, score)
    if error is None:
        return Measured(targets.double().numpy(), found["value"].double().numpy())
    kind = Tagged if task.several else Classed
    return kind(task.fitted.classes, targets.long().numpy(), found["probabilities"].double().numpy(), error)


def _worst(task: Task, score: Score, data: PartData, device: torch.device) -> Iterator[Sample]:
    """The labelled samples of the highest loss, if they are images."""
    if score.answers is None or (isinstance(data.inputs, Tensor) and data.inputs.ndim != 4):
        return
    rows = labelled(data.targets[task.name]).nonzero()[:, 0]
    order = losses(task, score.answers, device).argsort(descending=True)[:WORST]
    outputs, targets = score.answers.outputs[order], score.answers.targets[order]
    said = task.readout(outputs)
    worst = rows[order]
    images = data.inputs[worst] if isinstance(data.inputs, Tensor) else data.inputs.read(worst)
    for k, image in enumerate(images):
        if task.several:
            lines = tag_lines(task, targets[k] == 1, said["probabilities"][k] > HALF)
        elif task.fitted.classes:
            lines = _chosen(task.fitted.classes, int(targets[k]), said["probabilities"][k].tolist())
        else:
            lines = (Line(f"{float(targets[k]):.3g}"), Line(f"→ {float(said['value'][k]):.3g}"))
        yield Sample(pixels(image), lines)


def _chosen(classes: Sequence[str], target: int, probabilities: Sequence[float]) -> tuple[Line, ...]:
    said = int(np.argmax(probabilities))
    return (
        Line(f"{classes[target]}  {_percent(probabilities[target])}"),
        Line(f"→ {classes[said]}  {_percent(probabilities[said])}", wrong=said != target),
    )


def tag_lines(task: Task, there: Tensor, said: Tensor) -> tuple[Line, ...]:
    """All tags where they fit beneath an image, else only those that are missed and those that are too many.

    Shapes: (C,) bool
    """
    true, predicted = _tags(task, there), _tags(task, said)
    if torch.equal(there, said) and len(true) > FITS:
        return Line(true), Line("→ the same")
    if max(len(true), len(predicted)) <= FITS:
        return Line(true), Line(f"→ {predicted}", wrong=true != predicted)
    apart = (("missed: ", there & ~said), ("too many: ", said & ~there))
    return tuple(Line(f"{word}{_tags(task, its)}", wrong=True) for word, its in apart if its.any())


def _tags(task: Task, there: Tensor) -> str:
    """Shapes: (C,) bool"""
    return task.cell([task.fitted.classes[c] for c in there.nonzero()[:, 0].tolist()]) or NO_TAG


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def training_inputs(
    tasks: Mapping[str, Task], preparations: Mapping[str, Preparation], loader: TrainLoader
) -> Iterator[Grid]:
    """The first training samples of each part that has images."""
    for part in loader.opening():
        if part.inputs.ndim != 4:
            continue
        its = [
            (i, task, part.targets[task.name].cpu())
            for i, task in enumerate(tasks.values())
            if task.name in part.targets
        ]
        named = len(its) <= NAMED
        images = restored(part.inputs[: SHOWN if named else FEWER], preparations[part.name])
        legend = "with their labels" if named else "beneath: " + ", ".join(task.name for _, task, _ in its)
        lines = [
            [Line(f"{task.name}: {_label(task, t[k])}" if named else _label(task, t[k]), i) for i, task, t in its]
            for k in range(len(images))
        ]
        samples = (Sample(pixels(image), tuple(beneath)) for image, beneath in zip(images, lines, strict=True))
        yield Grid(part.name, tuple(samples), legend)


def _label(task: Task, target: Tensor) -> str:
    if not bool(labelled(target[None])):
        return "-"
    if task.several:
        return _tags(task, target == 1)
    return task.fitted.classes[int(target)] if task.fitted.classes else f"{float(target):.3g}"


def pixels(image: Tensor) -> Pixels:
    """An image as it is drawn; channels that are no colours are averaged.

    Shapes: (C, H, W) uint8 -> (H, W, 3), or (H, W) for any other number of channels
    """
    pixels: Pixels = image.cpu().numpy()
    if len(pixels) == 3:
        return pixels.transpose(1, 2, 0)
    grey: Pixels = pixels[0] if len(pixels) == 1 else pixels.mean(0).round().astype(np.uint8)
    return grey
