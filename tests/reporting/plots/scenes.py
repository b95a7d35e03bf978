"""A run with any number of tasks and classes, for the tests of the pictures."""

import math
from typing import Any

import numpy as np

from mtl_cli.reporting.plots.scene import Classed, Grid, Line, Measured, Metric, Sample, Scene, TaskScene


def classed(classes: int, count: int = 200, seed: int = 0) -> Classed:
    """Better than chance, with probabilities that add up to one."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, classes, count)
    logits = draw.normal(size=(count, classes))
    logits[np.arange(count), targets] += 2.0
    odds = np.exp(logits)
    return Classed(tuple(f"class {i}" for i in range(classes)), targets, odds / odds.sum(1, keepdims=True), 0.0421)


def measured(count: int = 200, seed: int = 0) -> Measured:
    draw = np.random.default_rng(seed)
    targets = draw.normal(20.0, 6.0, count)
    return Measured(targets, targets + draw.normal(0.0, 2.0, count))


def sample(value: int = 128, side: int = 8, lines: int = 2) -> Sample:
    image = np.full((side, side), value, dtype=np.uint8)
    return Sample(image, tuple(Line(f"line {i}", i) for i in range(lines)))


def task(name: str, i: int = 0, classes: int = 4) -> TaskScene:
    kinds = (
        (Metric("accuracy", "share", 0.25), Metric("f1_macro", "share", 0.1)),
        (Metric("r2", "skill", 0.0), Metric("mae", "unit", 3.0), Metric("rmse", "unit", 4.0)),
    )
    answers = classed(classes, seed=i) if i % 2 == 0 else measured(seed=i)
    return TaskScene(name, kinds[i % 2], "accuracy 0.9000", answers, tuple(sample(20 * k) for k in range(6)))


def epoch(number: int, tasks: tuple[TaskScene, ...], best: bool = False) -> dict[str, Any]:
    """Numbers that tell task, metric and epoch apart."""
    val = {
        task.name: {
            "loss": 1 / number + i / 10,
            **{metric.name: 1 - 1 / (number + 1) + i / 100 + k / 1000 for k, metric in enumerate(task.metrics)},
        }
        for i, task in enumerate(tasks)
    }
    losses = {task.name: math.exp(-number) + i for i, task in enumerate(tasks)}
    train = {"loss": losses, "coefficients": {task.name: 1.0 for task in tasks}, "weights": {}, "gradients": {}}
    return {"event": "epoch", "epoch": number, "train": train, "val": val, "best": best}


def told(scene: Scene, *trains: dict[str, Any]) -> Scene:
    """The same with that in each epoch's training, in place of what was there."""
    events = [
        {**event, "train": {**event["train"], **train}} for event, train in zip(scene.epochs, trains, strict=True)
    ]
    return scene._replace(epochs=tuple(events))


def scene(tasks: int = 2, epochs: int = 5, best: int = 4) -> Scene:
    its = tuple(task(f"task{i}", i) for i in range(tasks))
    events = tuple(epoch(k, its, best=k in (1, best)) for k in range(1, epochs + 1))
    return Scene(
        "sample", "test", best, its, events, (Grid("images", tuple(sample(5 * k) for k in range(24)), "labels"),), ()
    )
