"""How a text table is written: its encoding, what stands between cells, whether its first line names the columns."""

import csv
import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

from mtl_cli.data.guess.column import NUMBER
from mtl_cli.data.table.feed import GZIP
from mtl_cli.data.table.read import LINES, PARQUET
from mtl_cli.data.table.rows import Layout
from mtl_cli.options import ConfigError

PEEK = 1 << 20
"""Bytes that are looked at."""
FOUND = ",;\t"
"""What the source finds by itself."""


class Guess(NamedTuple):
    """A layout, and in words what was guessed of it that the source would not find by itself."""

    layout: Layout
    notes: tuple[str, ...]


def guess(path: Path, name: str) -> Guess:
    """Raises: ConfigError: the file is not there, empty, or cannot be read."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in PARQUET:
        return Guess(Layout(), ())
    start = _start(path, name)
    if not start.strip():
        raise ConfigError(f"{name} is empty: it should have a header, and rows below it")
    encoding = _encoding(start)
    notes = [] if encoding == "utf-8" else [f"its bytes are no utf-8, so it is read as {encoding}: mend that if wrong"]
    if suffix in LINES:
        return Guess(Layout(encoding=encoding), tuple(notes))
    text = start.decode("utf-8-sig" if encoding == "utf-8" else encoding, errors="replace").lstrip("\r\n")
    first = text.splitlines()[0]
    delimiter = "|" if "|" in first and not any(mark in first for mark in FOUND) else None
    between = delimiter or ("\t" if suffix in (".tsv", ".tab") else max(FOUND, key=first.count))
    rows = [row for row in csv.reader(text.splitlines()[:200], delimiter=between, skipinitialspace=True) if row]
    columns = None
    if _headless(rows):
        columns = tuple(f"column{i + 1}" for i in range(len(rows[0])))
        notes.append(f"its first line holds data, so its columns are called column1 to column{len(columns)}")
    return Guess(Layout(delimiter, encoding, columns), tuple(notes))


def _start(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(PEEK)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{name} cannot be read: {(isinstance(error, OSError) and error.strerror) or error}"
        ) from None


def _encoding(start: bytes) -> str:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return "utf-8" if error.end >= len(start) and len(start) == PEEK else "cp1252"
    return "utf-8"


def _headless(rows: list[list[str]]) -> bool:
    """Whether the first line is a row: a number stands in it, and none of its words above a column of numbers."""
    first, rest = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    numeric = [bool(NUMBER.fullmatch(cell.strip())) for cell in first]
    if not any(numeric):
        return False
    if not rest:
        return all(numeric)
    below = [all(NUMBER.fullmatch(row[i].strip()) for row in rest) for i in range(len(first))]
    return not any(column and not cell for column, cell in zip(below, numeric, strict=True))
