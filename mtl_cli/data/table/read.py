"""Reads a table: CSV, TSV, JSON lines or Parquet, plain or .gz, in pieces. Nothing is guessed of what cells mean.

A row is counted from 1 after the header; an empty line is none.
"""

import io
import zlib
from collections.abc import Generator, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from mtl_cli.data.table.feed import Feed
from mtl_cli.data.table.lines import json_rows
from mtl_cli.data.table.rows import Bad, Layout, Rows, Skip, unique
from mtl_cli.data.table.text import text_rows
from mtl_cli.options import ConfigError

PARQUET = (".parquet", ".pq")
LINES = (".jsonl", ".ndjson", ".json")
TABS = (".tsv", ".tab")
BROKEN = (OSError, EOFError, zlib.error, pa.ArrowException)
"""What reading a damaged file raises."""


def read(path: Path, name: str, layout: Layout) -> pa.Table:
    """The whole file: text with cells as they were written, JSON and Parquet with their types.

    Raises: ConfigError: as `rows`, or no row.
    """
    pieces = [piece.table for piece in rows(path, name, layout, None)]
    if not sum(piece.num_rows for piece in pieces):
        raise ConfigError(f"{name} has no row: below its header there should be some")
    names = list(dict.fromkeys(column for piece in pieces for column in piece.schema.names))
    return pa.table({column: _whole(column, pieces) for column in names})


def rows(path: Path, name: str, layout: Layout, skip: Skip | None) -> Iterator[Rows]:
    """A file piece by piece, so that one larger than memory can be read.

    Args:
        path: of the file; its suffix says the format, any that is not known CSV.
        name: what messages call it.
        layout: how it is written.
        skip: is told the rows that are left out; None: they are errors.
    Raises: ConfigError: one line with file and row.
    """
    try:
        if not path.is_file():
            raise ConfigError(f"{name} is not a file: it was looked for at {path}: {_offered(path)}")
        with path.open("rb") as file:
            yield from stream(file, name, layout, skip)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or error}") from None


def stream(file: BinaryIO, name: str, layout: Layout, skip: Skip | None) -> Generator[Rows]:
    """As `rows`, of an open file or a pipe; `name` says the format by its suffix."""
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    bad = Bad(name, skip)
    try:
        if suffix in PARQUET:
            yield from _parquet(file, name)
        elif suffix in LINES:
            yield from json_rows(Feed(file, layout.encoding), name, layout, bad)
        else:
            yield from text_rows(Feed(file, layout.encoding), name, layout, "\t" if suffix in TABS else None, bad)
    except UnicodeError as error:
        raise ConfigError(f"{name} is not of encoding={layout.encoding} ({error}): set the right one") from None
    except BROKEN as error:
        kind = "Parquet" if suffix in PARQUET else "text"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{name} is damaged, or no {kind} file: {reason[:120]}") from None


def _parquet(file: BinaryIO, name: str) -> Iterator[Rows]:
    """A file that can be sought is read in pieces, what is packed or piped at once."""
    seekable = file.seekable() and not name.lower().endswith(".gz")
    found = pa.parquet.ParquetFile(file if seekable else io.BytesIO(Feed(file, None).readall()))
    unique(tuple(found.schema_arrow.names), name)
    seen = 0
    for piece in found.iter_batches():
        yield Rows(np.arange(seen, seen + piece.num_rows) + 1, piece)
        seen += piece.num_rows


def _whole(column: str, pieces: list[pa.RecordBatch]) -> pa.ChunkedArray:
    """A column of all pieces; null in those without it, text where they differ in type."""
    found = [piece.column(column) if column in piece.schema.names else pa.nulls(piece.num_rows) for piece in pieces]
    types = {array.type for array in found} - {pa.null()}
    one = types.pop() if len(types) == 1 else pa.string()
    return pa.chunked_array([array.cast(one) for array in found], type=one)


def _offered(path: Path) -> str:
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else "set path to where it is, or data_dir (MTL_DATA)"
