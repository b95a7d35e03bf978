"""What the reporting room is told about data, model and results."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from mtl_cli.commands.build import Data
from mtl_cli.config import CHOICES, Config
from mtl_cli.data.base import labelled
from mtl_cli.evaluation import Score
from mtl_cli.model import MultiTaskModel
from mtl_cli.reporting.plots.scene import BINS
from mtl_cli.reporting.records import BestEpoch, Calibration, Header, LabelFacts, PartFacts, ResultRow, TaskFacts
from mtl_cli.tasks.base import Task
from mtl_cli.training.graph import Usage
from mtl_cli.training.progress import Progress


def header(
    config: Config,
    data: Data,
    model: MultiTaskModel,
    used: Usage,
    device: str,
    run_dir: Path,
    cost: str,
    epoch: str,
) -> Header:
    """The head of a training run; `device`, `cost` of its methods and `epoch` in words."""
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    own = {task: sum(sizes[name] for name in names) for task, names in used.own.items()}
    labels = {
        task: int(labelled(t).sum()) for part in data.splits["train"].values() for task, t in part.targets.items()
    }
    chosen = msgspec.structs.asdict(config)
    choices = {group: str(chosen[group].__struct_config__.tag) for group in CHOICES if group != "device"}
    choices["backbone"] = config.backbone.label
    if config.regularizer:
        choices["regularizer"] = "+".join(config.regularizer)
    return Header(
        command="train",
        task_set=config.task,
        tasks=tuple(
            TaskFacts(
                name,
                str(task.option.__struct_config__.tag),
                len(task.fitted.classes),
                labels[name],
                task.option.primary,
                own[name],
                task.several,
            )
            for name, task in data.tasks.items()
        ),
        parts=tuple(
            PartFacts(part, *(len(data.splits[split][part].inputs) for split in ("train", "val", "test")))
            for part in config.data.parts
        ),
        shared=sum(sizes.values()) - sum(own.values()),
        choices=choices,
        device=device,
        seed=config.seed,
        data_seed=config.data.seed,
        run_dir=run_dir,
        cost=cost,
        epoch=epoch,
    )


def result_rows(tasks: Mapping[str, Task], scores: Mapping[str, Mapping[str, Score]]) -> tuple[ResultRow, ...]:
    """One row for each metric of each task on each split."""
    rows = []
    for split, found in scores.items():
        for name, task in tasks.items():
            score = found[name]
            for metric, value in score.metrics.items():
                constant = score.constants[metric]
                skill = None if value is None or constant is None else task.skill(metric, value, constant)
                rows.append(ResultRow(name, metric, metric == task.option.primary, split, value, constant, skill))
    return tuple(rows)


def label_facts(data: Data) -> tuple[LabelFacts, ...]:
    """The labels of each task in train, val and test."""
    return tuple(
        _labels(task, split, data.splits[split][data.part_of[name]].targets[name])
        for name, task in data.tasks.items()
        for split in ("train", "val", "test")
    )


def best_epochs(tasks: Mapping[str, Task], progress: Progress) -> tuple[BestEpoch, ...]:
    """Each task's own best epoch."""
    return tuple(
        BestEpoch(name, tasks[name].option.primary, int(best["epoch"]), best["value"])
        for name, best in progress.best_of.items()
    )


def calibrations(tasks: Mapping[str, Task], scores: Mapping[str, Mapping[str, Score]]) -> tuple[Calibration, ...]:
    """The calibration error of each task with classes on each split."""
    errors = {(task, split): calibration_error(tasks[task], scores[split][task]) for task in tasks for split in scores}
    return tuple(Calibration(*at, error) for at, error in errors.items() if error is not None)


def calibration_error(task: Task, score: Score) -> float | None:
    """How far the largest probability is from the share of right predictions, on average; None without classes.

        ECE = sum_b n_b / N |acc_b - conf_b|, over 15 bins of equal width; N C predictions where each tag is one

    Source: Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, ICML 2017, equation 5.
    """
    if not task.fitted.classes or score.answers is None:
        return None
    from torchmetrics.functional.classification import multiclass_calibration_error  # not at the top: it takes a second

    outputs, targets = score.answers
    # A certainty of 1 belongs to the last bin: torchmetrics would give it one of its own.
    probabilities = task.readout(outputs)["probabilities"].float().clamp_max(1 - torch.finfo(torch.float32).eps)
    if task.several:
        probabilities, targets = torch.stack([1 - probabilities, probabilities], -1).flatten(0, 1), targets.flatten()
    classes = probabilities.shape[1]
    return float(multiclass_calibration_error(probabilities, targets.long(), classes, BINS, "l1"))


def _labels(task: Task, split: str, target: Tensor) -> LabelFacts:
    found = target[labelled(target)]
    missing = len(target) - len(found)
    if task.fitted.classes:
        each = found.long().sum(0) if task.several else torch.bincount(found.long(), minlength=len(task.fitted.classes))
        counts = each.tolist()
        return LabelFacts(
            task.name, split, len(found), missing, dict(zip(task.fitted.classes, counts, strict=True)), None, None
        )
    mean = float(found.mean()) if len(found) else None
    deviation = float(found.std(correction=0)) if len(found) else None
    return LabelFacts(task.name, split, len(found), missing, {}, mean, deviation)
