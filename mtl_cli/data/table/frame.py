"""From columns as read to a table's rows: which cells are numbers, days or words, and what is wrong with the others."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa

from mtl_cli.data.base import Frame
from mtl_cli.data.options import ImageTable, TableFile
from mtl_cli.data.table.cells import Wrong, days, numbers, words
from mtl_cli.data.table.rows import offered
from mtl_cli.options import MOST_PLACES, ConfigError, DataError


class Inputs(NamedTuple):
    """The input columns of a table, by what their cells are."""

    numbers: Sequence[str]
    dates: Sequence[str]
    categories: Sequence[str]


def frame(table: pa.Table, inputs: Inputs, option: TableFile) -> tuple[Frame, dict[str, Wrong]]:
    """The rows, and the wrong cells of each column that has some; those are NaN in the rows.

    Args:
        table: has at least the columns that are inputs.
        inputs: which those are.
        option: what is written in empty cells.
    """
    found = {name: numbers(table.column(name), empty(option, name)) for name in inputs.numbers}
    moments = {name: days(table.column(name), empty(option, name)) for name in inputs.dates}
    rows = Frame(
        {name: column.values for name, column in found.items()},
        {name: column.values for name, column in moments.items()},
        {name: words(table.column(name), empty(option, name)) for name in inputs.categories},
        table.num_rows,
    )
    return rows, {name: column.wrong for name, column in (found | moments).items() if column.wrong}


def empty(option: TableFile | ImageTable, column: str) -> frozenset[str]:
    """What is written in the empty cells of a column."""
    return frozenset(map(str, [*option.missing, *option.codes.get(column, [])]))


def has(table: pa.Table, wanted: Iterable[str], name: str) -> None:
    """Raises: ConfigError: a column is not there; the nearest is named."""
    for column in wanted:
        if column not in table.schema.names:
            raise ConfigError(f"{name} has no column {column!r}: {offered(column, table.schema.names)}")


def refuse(wrong: dict[str, Wrong], name: str, instead: str = "name the column in categories") -> None:
    """Raises: ConfigError: the first row with a wrong cell; `instead` is what else can be done with such a column."""
    if wrong:
        cells = sorted((row, column) for column, its in wrong.items() for row in its)
        places = (f"{name}, row {row + 1}, column {column}: {wrong[column][row]}" for row, column in cells)
        first, *_ = shown = [place for place, _ in zip(places, range(MOST_PLACES), strict=False)]
        raise DataError(
            f"{first}: mend it, list in missing or codes what stands for an empty cell, or {instead}",
            f"{len(cells):,} cells of {name} are not what their column is: mend them, or list them in missing or codes",
            shown,
            len(cells),
        )
