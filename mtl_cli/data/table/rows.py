"""Some rows of a table, and what is told of the rows that cannot be read."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtl_cli.options import ConfigError, DataError, nearest

MOST = 12
"""Columns that an error lists."""


class Layout(NamedTuple):
    """How a table is written.

    delimiter: of CSV; None: by the file's name or its first line. encoding: of text. columns: their names, for CSV
    without a header; None: it has one. block: bytes of CSV that are read at once; no row is longer, and Arrow reads up
    to 32 of them ahead. only: columns that are looked at, so that what others hold is no fault; None: all of them.
    """

    delimiter: str | None = None
    encoding: str = "utf-8"
    columns: tuple[str, ...] | None = None
    block: int = 1 << 24
    only: frozenset[str] | None = None

    def skips(self, column: str) -> bool:
        """Whether nobody looks at a column."""
        return self.only is not None and column not in self.only


class Rows(NamedTuple):
    """Some rows with their numbers in the file, (N,) from 1; text, or what types the file gives its columns."""

    numbers: npt.NDArray[np.int64]
    table: pa.RecordBatch


Skip = Callable[[int, str], None]
"""Is told the number of a row that is left out, and what is wrong with it."""


class Bad:
    """What becomes of rows that cannot be read: told to `skip`, in order, or an error where there is none."""

    def __init__(self, name: str, skip: Skip | None) -> None:
        self._name = name
        self._skip = skip
        self._waiting: list[tuple[int, str]] = []

    def add(self, row: int, said: str) -> None:
        """Keeps it until `tell`, as it may come from a thread of its own."""
        self._waiting.append((row, said))

    def tell(self, last: int | None = None) -> None:
        """Those up to row `last`, as others come from rows that are read ahead; None: all.

        Raises: ConfigError: the first of them, where nothing skips them.
        """
        due = sorted(bad for bad in list(self._waiting) if last is None or bad[0] <= last)
        for row, said in due:
            if self._skip is None:
                places = [f"{self._name}, row {bad}{its}" for bad, its in due]
                raise DataError(places[0], f"{len(due):,} rows of {self._name} cannot be read", places, len(due))
            self._waiting.remove((row, said))
            self._skip(row, said.lstrip(",: "))


def unique(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The names of columns. Raises: ConfigError: two are alike."""
    for column in names:
        count = names.count(column)
        if count > 1:
            raise ConfigError(f"{name} has {count} columns named {column!r}: give each a name of its own")
    return names


def offered(column: str, known: list[str]) -> str:
    """What to write in place of a column that is not there: the nearest one, else those that are."""
    offer = nearest(column, known)
    if offer.startswith("choose") and len(known) > MOST:
        return f"it has {', '.join(known[:MOST])} and {len(known) - MOST} more"
    return offer
