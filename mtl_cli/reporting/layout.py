"""The table of epochs: a row is printed as its epoch ends, so the widths of its columns stand from the start."""

from typing import NamedTuple

from mtl_cli.reporting.records import EpochRow, TaskEpoch
from mtl_cli.reporting.wording import NUMBER_WIDTH, number, shorten

GAP = 2
METRIC_WIDTH = 8
WIDEST = 14


class Layout(NamedTuple):
    """How many tasks a row shows, how wide each one's metric is, and whether its loss stands beside it."""

    epoch: int
    tasks: int
    metric: int
    losses: bool

    @property
    def task(self) -> int:
        """The width of one task's columns together."""
        return NUMBER_WIDTH + 1 + self.metric if self.losses else self.metric


def layout(row: EpochRow, width: int) -> Layout:
    """The fullest layout that fits: losses and metrics of all tasks, else metrics, else those of the first tasks."""
    epoch = max(len("epoch"), 2 * len(str(row.epochs)) + 1)
    room = width - epoch - (GAP + NUMBER_WIDTH) - len(" *")
    count = len(row.tasks)
    if count * (GAP + NUMBER_WIDTH + 1 + METRIC_WIDTH) <= room:
        metric = min(WIDEST, room // count - GAP - NUMBER_WIDTH - 1)
        return Layout(epoch, count, metric, losses=True)
    shown = min(count, room // (GAP + NUMBER_WIDTH))
    return Layout(epoch, shown, min(WIDEST, room // shown - GAP), losses=False)


def heading(row: EpochRow, plan: Layout) -> list[str]:
    """The lines above the first row: task names, then what stands beneath them."""
    names = " " * plan.epoch
    labels = f"{'epoch':>{plan.epoch}}"
    for task in row.tasks[: plan.tasks]:
        names += f"{shorten(task.name, plan.task):>{GAP + plan.task}}"
        loss = f"{'loss':>{GAP + NUMBER_WIDTH}} " if plan.losses else " " * GAP
        labels += f"{loss}{shorten(task.metric, plan.metric):>{plan.metric}}"
    more = len(row.tasks) - plan.tasks
    hidden = [f"({more} more tasks: metrics.csv)"] if more else []
    return [*hidden, names, f"{labels}{'score':>{GAP + NUMBER_WIDTH}}"]


def line(row: EpochRow, plan: Layout) -> str:
    """One epoch, a star at its end where it is the best so far."""
    text = f"{f'{row.epoch}/{row.epochs}':>{plan.epoch}}"
    for task in row.tasks[: plan.tasks]:
        text += _cells(task, plan)
    text += f"{number(row.score):>{GAP + NUMBER_WIDTH}}"
    return f"{text} *" if row.best else text


def _cells(task: TaskEpoch, plan: Layout) -> str:
    loss = f"{number(task.loss):>{GAP + NUMBER_WIDTH}} " if plan.losses else " " * GAP
    return f"{loss}{number(task.value):>{plan.metric}}"
