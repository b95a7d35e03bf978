"""A screen of plain lines, for pipes and log files."""

import textwrap
from collections.abc import Callable, Sequence
from typing import final

from mtl_cli.reporting.layout import heading, layout, line
from mtl_cli.reporting.records import EpochRow, Header, Progress, ResultRow
from mtl_cli.reporting.screen import Pace, Screen
from mtl_cli.reporting.table import result_lines
from mtl_cli.reporting.wording import duration, number, place

WIDTH = 80


@final
class PlainScreen(Screen):
    """Hands each line to `write`; progress at the given pace."""

    def __init__(self, write: Callable[[str], object], pace: Pace) -> None:
        self._write = write
        self._pace = pace
        self._heading: list[str] = []

    def header(self, header: Header) -> None:
        for text in header_lines(header):
            self._wrapped(text)

    def progress(self, progress: Progress) -> None:
        if self._pace.due():
            self._write(progress_line(progress))

    def epoch(self, row: EpochRow) -> None:
        plan = layout(row, WIDTH)
        above = heading(row, plan)
        for text in above if above != self._heading else []:
            self._write(text)
        self._heading = above
        self._write(line(row, plan))

    def note(self, line: str) -> None:
        self._wrapped(line)

    def command(self, line: str) -> None:
        self._write(line)

    def result(self, rows: Sequence[ResultRow]) -> None:
        for text in result_lines(rows):
            self._write(text)

    def close(self) -> None:
        """Has nothing to leave."""

    def _wrapped(self, text: str) -> None:
        for part in textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]:
            self._write(part)


def header_lines(header: Header) -> list[str]:
    """The header's facts, a line each."""
    tasks = (
        f"task {task.name}: {task.kind}{f', {task.classes_in_words}' if task.classes else ''}, "
        f"{task.labels:,} labels, by {task.primary}"
        for task in header.tasks
    )
    parts = (f"data {part.name}: train {part.train:,}, val {part.val:,}, test {part.test:,}" for part in header.parts)
    return [
        f"mtl {header.command} {header.task_set}",
        *tasks,
        *parts,
        f"parameters: {parameters(header)}",
        f"choices: {choices(header)}",
        f"cost: {header.cost}",
        f"epoch: {header.epoch}",
        f"device: {header.device}; seed {header.seed}, data seed {header.data_seed}",
        f"run: {place(header.run_dir)}",
    ]


def parameters(header: Header) -> str:
    """The size of the model, shared and of each task."""
    return " · ".join([f"shared {header.shared:,}", *(f"{task.name} {task.parameters:,}" for task in header.tasks)])


def choices(header: Header) -> str:
    """What was chosen in each group."""
    return " · ".join(f"{group} {name}" for group, name in header.choices.items())


def progress_line(progress: Progress) -> str:
    """Where a run stands, in one line."""
    return (
        f"epoch {progress.epoch}/{progress.epochs}  step {progress.step:,}/{progress.steps:,}  "
        f"loss {number(progress.loss)}  {progress.samples_per_s:,.0f} samples/s  "
        f"{duration(progress.seconds_left)} left"
    )
