"""What the pictures show: plain values and numpy arrays. Imports no matplotlib."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
"""An image: (H, W) grey, or (H, W, 3)."""

BINS = 15
"""Of a calibration error, of equal width from 0 to 1."""


class Metric(NamedTuple):
    """A metric of a task on val.

    scale: share, in [0, 1]; skill, at most 1; unit, that of the target. constant: what the best constant reaches.
    """

    name: str
    scale: Literal["share", "skill", "unit"]
    constant: float | None


class Classed(NamedTuple):
    """Labelled samples of a task with classes. Shapes: targets (N,), probabilities (N, C)."""

    classes: tuple[str, ...]
    targets: Indices
    probabilities: Floats
    calibration_error: float


class Measured(NamedTuple):
    """Labelled samples of a task whose target is a number, in its unit. Shapes: targets (N,), values (N,)."""

    targets: Floats
    values: Floats


class Tagged(NamedTuple):
    """Labelled samples of a task with any number of tags. Shapes: targets, zeros and ones, and probabilities (N, C)."""

    classes: tuple[str, ...]
    targets: Indices
    probabilities: Floats
    calibration_error: float


Answered = Classed | Measured | Tagged


class Line(NamedTuple):
    """A line beneath an image: in the colour of the task at that place, or in the colour of what is wrong."""

    text: str
    task: int | None = None
    wrong: bool = False


class Sample(NamedTuple):
    """An image and the lines beneath it."""

    image: Pixels
    lines: tuple[Line, ...]


class TaskScene(NamedTuple):
    """One task; the first metric is the primary one.

    score: the primary metric in words. answers: None where the split has no label. worst: the highest loss first.
    """

    name: str
    metrics: tuple[Metric, ...]
    score: str
    answers: Answered | None
    worst: tuple[Sample, ...]


class Grid(NamedTuple):
    """Training inputs of one part as the model sees them; `legend` says what stands beneath each."""

    part: str
    samples: tuple[Sample, ...]
    legend: str


class TargetShape(NamedTuple):
    """How a task's labels are spread: rows of each class by `names`, or without names the numbers themselves."""

    name: str
    names: tuple[str, ...]
    values: Floats


class Rows(NamedTuple):
    """Some rows of one part that is a table; the heading's columns with the task that each is the label of."""

    part: str
    heading: tuple[tuple[str, int | None], ...]
    cells: tuple[tuple[str, ...], ...]
    shapes: tuple[TargetShape, ...]
    legend: str


class Related(NamedTuple):
    """How tasks relate, by what a method of that name learned: correlations (T, T), in the order of the names."""

    method: str
    tasks: tuple[str, ...]
    correlations: Floats


class Scene(NamedTuple):
    """All that is drawn of a run.

    split, epoch: what `answers` and `worst` are of. epochs: the epoch events of metrics.jsonl. grids: by part.
    relations: what methods learned of the tasks, at the last step.
    """

    task_set: str
    split: str
    epoch: int
    tasks: tuple[TaskScene, ...]
    epochs: tuple[Mapping[str, Any], ...]
    grids: tuple[Grid, ...]
    relations: tuple[Related, ...]
