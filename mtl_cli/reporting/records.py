"""What the reporting room takes: plain values, no tensors. None stands for a number that there is not."""

from pathlib import Path
from typing import NamedTuple

Number = float | None


class TaskFacts(NamedTuple):
    """A task as the header shows it: `classes` is 0 without classes, `labels` counts those of train.

    several: whether an item may have several classes, so that they are tags.
    """

    name: str
    kind: str
    classes: int
    labels: int
    primary: str
    parameters: int
    several: bool

    @property
    def classes_in_words(self) -> str:
        """How many classes, or tags; empty without."""
        return f"{self.classes} {'tags' if self.several else 'classes'}" if self.classes else ""


class PartFacts(NamedTuple):
    """A part of the data and its samples in each split."""

    name: str
    train: int
    val: int
    test: int


class Header(NamedTuple):
    """What a run is about to do.

    Args:
        command: such as "train".
        shared: parameters that no single task owns.
        choices: group -> the name chosen in it.
        device: in words, such as "cpu, 2 threads".
        cost: of the methods: passes in a step, memory for rows and state.
        epoch: what an epoch is: steps, and how often each part is passed.
    """

    command: str
    task_set: str
    tasks: tuple[TaskFacts, ...]
    parts: tuple[PartFacts, ...]
    shared: int
    choices: dict[str, str]
    device: str
    seed: int
    data_seed: int
    run_dir: Path
    cost: str
    epoch: str


class Progress(NamedTuple):
    """Where a run stands: `step` of `steps` in all epochs together, `loss` the sum over tasks."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: Number
    samples_per_s: float
    seconds_left: float


class TaskEpoch(NamedTuple):
    """One task's epoch: training loss, and the primary metric on val."""

    name: str
    loss: Number
    metric: str
    value: Number


class EpochRow(NamedTuple):
    """One epoch; `best` where none before had a higher score."""

    epoch: int
    epochs: int
    tasks: tuple[TaskEpoch, ...]
    score: Number
    best: bool


class ResultRow(NamedTuple):
    """One metric of one task on one split, with the best constant's value and the skill over it."""

    task: str
    metric: str
    primary: bool
    split: str
    value: Number
    constant: Number
    skill: Number


class LabelFacts(NamedTuple):
    """The labels of one task in one split: how many of each class or tag, or mean and deviation of a number."""

    task: str
    split: str
    labelled: int
    missing: int
    classes: dict[str, int]
    mean: Number
    deviation: Number


class BestEpoch(NamedTuple):
    """The epoch at which one task's primary metric on val was best."""

    task: str
    metric: str
    epoch: int
    value: Number


class Calibration(NamedTuple):
    """The expected calibration error of one task with classes on one split."""

    task: str
    split: str
    error: float


class PictureFacts(NamedTuple):
    """A picture in `plots`, by its file's name without the ending, and what it shows."""

    name: str
    caption: str


class Report(NamedTuple):
    """What report.md tells.

    Args:
        overrides: what was typed after `mtl train`.
        epochs: epochs trained.
        select: what the best epoch was selected by: mean, worst or a task's name.
        selected: the epoch of the checkpoint `best`, which `results` are of.
        bests: each task's own best epoch.
        data: part -> digest of its content.
        pictures: what was drawn.
        learned: lines on what the sharing found out, such as a tree.
    """

    header: Header
    overrides: tuple[str, ...]
    epochs: int
    select: str
    selected: int
    results: tuple[ResultRow, ...]
    bests: tuple[BestEpoch, ...]
    labels: tuple[LabelFacts, ...]
    data: dict[str, str]
    calibrations: tuple[Calibration, ...]
    pictures: tuple[PictureFacts, ...]
    learned: tuple[str, ...]
