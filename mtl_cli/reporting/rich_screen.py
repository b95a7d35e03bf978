"""A screen on a terminal: a panel, a live bar, coloured rows. The one file that imports rich."""

from collections.abc import Sequence
from typing import final

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from mtl_cli.reporting.layout import heading, layout, line
from mtl_cli.reporting.plain import choices, parameters
from mtl_cli.reporting.records import EpochRow, Header, Progress, ResultRow
from mtl_cli.reporting.screen import Pace, Screen
from mtl_cli.reporting.table import PER_SPLIT, result_table
from mtl_cli.reporting.wording import duration, number, place, shorten

WIDEST = 110
NAME_WIDTH = 14


@final
class RichScreen(Screen):
    """Draws on `console`, the bar at the given pace and without a thread of its own."""

    def __init__(self, console: Console, pace: Pace) -> None:
        self._console = console
        self._pace = pace
        self._width = min(console.width, WIDEST)
        self._heading: list[str] = []
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}"),
            console=console,
            transient=True,
            auto_refresh=False,
            expand=True,
        )
        self._run = self._bar.add_task("", total=None, facts="")

    def header(self, header: Header) -> None:
        body = Table.grid(padding=(0, 2, 0, 0))
        body.add_column(style="dim", no_wrap=True)
        body.add_column()
        body.add_row("tasks", _tasks(header))
        body.add_row("parameters", Text(parameters(header)))
        for part in header.parts:
            body.add_row("data", Text(f"{part.name}: train {part.train:,} · val {part.val:,} · test {part.test:,}"))
        body.add_row("choices", Text(choices(header)))
        body.add_row("cost", Text(header.cost))
        body.add_row("epoch", Text(header.epoch))
        body.add_row("device", Text(f"{header.device} · seed {header.seed} · data seed {header.data_seed}"))
        body.add_row("run", Text(place(header.run_dir), overflow="fold"))
        title = Text.assemble((f"mtl {header.command}", "bold"), f" {header.task_set}")
        self._console.print(Panel(body, title=title, title_align="left", width=self._width, box=box.ROUNDED))

    def progress(self, progress: Progress) -> None:
        if not self._pace.due():
            return
        facts = (
            f"loss {number(progress.loss)} · {progress.samples_per_s:,.0f} samples/s · "
            f"{duration(progress.seconds_left)} left"
        )
        where = f"epoch {progress.epoch}/{progress.epochs}"
        self._bar.update(
            self._run, description=where, completed=progress.step, total=progress.steps, facts=facts, refresh=False
        )
        self._bar.start()
        self._bar.refresh()

    def epoch(self, row: EpochRow) -> None:
        plan = layout(row, self._width)
        above = heading(row, plan)
        for text in above if above != self._heading else []:
            self._print(Text(text, style="dim"))
        self._heading = above
        self._print(Text(line(row, plan), style="bold green" if row.best else ""))

    def note(self, line: str) -> None:
        self._console.print(Text(line, overflow="fold"))

    def command(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def result(self, rows: Sequence[ResultRow]) -> None:
        self._bar.stop()
        self._console.print(_results(rows))

    def close(self) -> None:
        self._bar.stop()

    def _print(self, text: Text) -> None:
        self._console.print(text, no_wrap=True, crop=False, overflow="ignore")


def _tasks(header: Header) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(style="bold cyan", no_wrap=True)
    for _ in range(2):
        table.add_column(no_wrap=True)
    for task in header.tasks:
        kind = f"{task.kind} · {task.classes_in_words}" if task.classes else task.kind
        table.add_row(Text(shorten(task.name, NAME_WIDTH)), kind, f"{task.labels:,} labels")
    return table


def _results(rows: Sequence[ResultRow]) -> Table:
    found = result_table(rows)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("task", style="bold cyan", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for split in found.splits:
        for name in PER_SPLIT:
            table.add_column(
                f"{split}\n{name}", justify="right", no_wrap=True, style="dim" if name == "constant" else ""
            )
    before = ""
    for row, primary in zip(found.rows, found.primary, strict=True):
        name = "" if row[0] == before else shorten(row[0], NAME_WIDTH)
        table.add_row(Text(name), shorten(row[1], NAME_WIDTH), *row[2:], style="bold" if primary else "")
        before = row[0]
    return table
