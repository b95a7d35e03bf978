"""Results as a table: a row for each metric of each task, and for each split its value, constant and skill."""

from collections.abc import Sequence
from typing import NamedTuple

from mtl_cli.reporting.records import ResultRow
from mtl_cli.reporting.wording import number, shorten

PER_SPLIT = ("value", "constant", "skill")
NAME_WIDTH = 20
COLUMN = 9


class ResultTable(NamedTuple):
    """A heading and rows of equal length; `primary` tells of each row whether its metric is its task's primary."""

    splits: tuple[str, ...]
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    primary: tuple[bool, ...]


def result_table(rows: Sequence[ResultRow]) -> ResultTable:
    """Puts the splits side by side, in the order in which they come."""
    splits = tuple(dict.fromkeys(row.split for row in rows))
    found = {(row.task, row.metric, row.split): row for row in rows}
    keys = tuple(dict.fromkeys((row.task, row.metric) for row in rows))
    primary = {(row.task, row.metric): row.primary for row in rows}
    lines = []
    for task, metric in keys:
        cells = [found.get((task, metric, split)) for split in splits]
        lines.append((task, metric, *(text for cell in cells for text in _numbers(cell))))
    heading = ("task", "metric", *(f"{split} {name}" for split in splits for name in PER_SPLIT))
    return ResultTable(splits, heading, tuple(lines), tuple(primary[key] for key in keys))


def result_lines(rows: Sequence[ResultRow]) -> list[str]:
    """The table as plain text, 76 columns wide for two splits; a star marks each task's primary metric."""
    table = result_table(rows)
    names = [shorten(row[0], NAME_WIDTH - COLUMN) for row in table.rows]
    wide = max(len("task"), *(len(name) for name in names))
    metrics = max(len("metric"), *(len(shorten(row[1], COLUMN)) for row in table.rows)) + 1
    first = " " * (wide + 1 + metrics) + "".join(f"{split:>{COLUMN * len(PER_SPLIT)}}" for split in table.splits)
    second = f"{'task':{wide}} {'metric':{metrics}}" + "".join(
        f"{n:>{COLUMN}}" for _ in table.splits for n in PER_SPLIT
    )
    lines = [first, second]
    for name, row, primary in zip(names, table.rows, table.primary, strict=True):
        metric = shorten(row[1], COLUMN) + "*" * primary
        lines.append(f"{name:{wide}} {metric:{metrics}}" + "".join(f"{cell:>{COLUMN}}" for cell in row[2:]))
    return lines


def _numbers(row: ResultRow | None) -> tuple[str, str, str]:
    return ("-", "-", "-") if row is None else (number(row.value), number(row.constant), number(row.skill))
