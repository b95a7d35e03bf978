"""Reads CSV and TSV in pieces, every cell as it was written."""

import io
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from mtl_cli.data.table.feed import UNKNOWN, Feed
from mtl_cli.data.table.rows import Bad, Layout, Rows, unique
from mtl_cli.options import ConfigError, text

DELIMITERS = ",;\t"


def text_rows(feed: Feed, name: str, layout: Layout, delimiter: str | None, bad: Bad) -> Iterator[Rows]:
    """Cells as text, rows numbered from 1 after the header.

    Raises: ConfigError: no row; names that are not unique, or not as many as there are cells.
    """
    if layout.delimiter is not None and not re.fullmatch(r"[\t\x20!#-~]", layout.delimiter):
        raise ConfigError(f"delimiter={text(layout.delimiter)} should be one character such as , ; | or a tab")
    file = io.BufferedReader(feed, layout.block)
    first = re.split(rb"[\r\n]", file.peek(1).lstrip(b"\r\n"), maxsplit=1)[0]
    if not first:
        raise ConfigError(f"{name} is empty: it should have a header, and rows below it")
    if first.startswith(b"PK\x03\x04"):
        raise ConfigError(f"{name} is no text file, but a zip or a spreadsheet: save the table as CSV")
    if layout.columns is None and UNKNOWN in first.decode(errors="ignore"):
        raise ConfigError(
            f"{name} has a header that is not {layout.encoding}: set its encoding, such as cp1252, or save it as CSV "
            "where it is no text file"
        )
    header, odd = 0 if layout.columns else 1, list[int]()

    def left_out(row: pa.csv.InvalidRow) -> str:
        odd.append(row.number - header)
        bad.add(row.number - header, _count(row))
        return "skip"

    reader = pa.csv.open_csv(
        pa.PythonFile(file, "r"),
        pa.csv.ReadOptions(use_threads=False, block_size=layout.block, autogenerate_column_names=True),
        pa.csv.ParseOptions(
            delimiter=layout.delimiter or delimiter or _delimiter(first.decode(errors="replace")),
            newlines_in_values=True,
            invalid_row_handler=left_out,
        ),
        pa.csv.ConvertOptions(default_column_type=pa.binary(), strings_can_be_null=False),
    )
    try:
        yield from _named(reader, name, layout, odd, bad)
    finally:
        feed.stop()
        _drain(reader)


def _named(reader: pa.csv.CSVStreamingReader, name: str, layout: Layout, odd: list[int], bad: Bad) -> Iterator[Rows]:
    seen, names = 0, layout.columns
    for number, piece in enumerate(reader):
        table = piece
        if names is None:
            names, table = _header(piece), piece.slice(1)
        if number == 0 and len(unique(names, name)) != piece.num_columns:
            raise ConfigError(f"{name} has {piece.num_columns} columns, but `columns` names {len(names)}")
        rows = _numbers(seen, table.num_rows, list(odd))
        seen += table.num_rows
        found = _decoded(table, names, layout, rows, bad)
        bad.tell(int(rows[-1]) if len(rows) else 0)
        yield found
    bad.tell()


def _header(piece: pa.RecordBatch) -> tuple[str, ...]:
    return tuple(column[0].as_py().decode().strip() for column in piece.columns)


def _numbers(seen: int, count: int, odd: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The numbers of `count` good rows after `seen` ones, when those of `odd` are bad."""
    good = np.arange(seen, seen + count) + 1
    return good + np.searchsorted(np.asarray(odd, np.int64) - np.arange(len(odd)), good, side="right")


def _decoded(
    table: pa.RecordBatch,
    names: tuple[str, ...],
    layout: Layout,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    bad: Bad,
) -> Rows:
    """Bytes to text; rows with bytes that are none are left out."""
    columns, kept = [], np.ones(len(rows), bool)
    for name, cells in zip(names, table.columns, strict=True):
        column, wrong = (cells, []) if layout.skips(name) else _text(cells)
        for i in wrong:
            if kept[i]:
                bad.add(int(rows[i]), f", column {text(name)}: {_shown(cells[i].as_py())}")
            kept[i] = False
        columns.append(column)
    found = pa.RecordBatch.from_arrays(columns, names=list(names))
    return Rows(rows, found) if kept.all() else Rows(rows[kept], found.filter(pa.array(kept)))


def _text(cells: pa.Array) -> tuple[pa.Array, list[int]]:
    """The cells as text, and which are none."""
    column = cells.cast(pa.string())
    strange = pa.compute.match_substring(column, UNKNOWN)
    return column, np.flatnonzero(strange.to_numpy(zero_copy_only=False)).tolist()


def _delimiter(header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


def _count(row: pa.csv.InvalidRow) -> str:
    fields = f"{row.actual_columns} field{'s' if row.actual_columns > 1 else ''}"
    return f": it has {fields}, the first line has {row.expected_columns}. Found {text(row.text)}"


def _shown(cell: bytes) -> str:
    return f"{text(cell.decode())} is not of the file's encoding: set encoding to the right one, such as cp1252"


def _drain(reader: pa.csv.CSVStreamingReader) -> None:
    """Waits for Arrow's thread, which would otherwise call Python when that is no more."""
    try:
        for _ in reader:
            pass
    except (pa.ArrowException, StopIteration):
        return
