"""A table to predict, read and coded as the one that the model was trained on, a batch at a time."""

import csv
import io
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mtl_cli.data.items import Fault, Items
from mtl_cli.data.options import TableFile
from mtl_cli.data.table.code import Encoding
from mtl_cli.data.table.encoding import encode
from mtl_cli.data.table.feed import GZIP, PIECE
from mtl_cli.data.table.frame import Inputs, frame, has
from mtl_cli.data.table.read import stream
from mtl_cli.data.table.rows import Layout, Rows
from mtl_cli.options import ConfigError

MAGIC = b"PAR1"
BLOCK = 1 << 20
"""Bytes of CSV that are read at once: few, as Arrow reads ahead."""
BOM = b"\xef\xbb\xbf"


class Trained(NamedTuple):
    """How the table of training was written, and its columns coded."""

    option: TableFile
    encoding: Encoding


def rows_of(path: Path, name: str, trained: Trained, size: int) -> Generator[Items]:
    """Batches of a file's rows, of `size` at most; see `batches`. Raises: ConfigError: it cannot be opened."""
    if path.is_dir():
        raise ConfigError(
            f"input={name} is a folder, but the model takes a table: name a CSV, JSON-lines or Parquet file"
        )
    try:
        file = path.open("rb", PIECE)
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or error}") from None
    with file:
        yield from _batches(cast("io.BufferedReader[io.RawIOBase]", file), name, trained, size)


def rows_of_stdin(file: BinaryIO, trained: Trained, size: int) -> Generator[Items]:
    """Batches of the rows that come down a pipe: CSV, JSON lines or Parquet, told by how it begins."""
    whole = io.BufferedReader(cast("io.RawIOBase", file), PIECE)
    head = _head(whole).removeprefix(BOM).lstrip()
    suffix = ".parquet" if head.startswith(MAGIC) else ".jsonl" if head.startswith(b"{") else ".csv"
    yield from _batches(whole, f"stdin{suffix}", trained, size)


def _batches(file: "io.BufferedReader[io.RawIOBase]", name: str, trained: Trained, size: int) -> Generator[Items]:
    """Rows coded, in the file's order, each with its number; rows that cannot be read are faults between them.

    Raises: ConfigError: a column is not there, the file is empty or damaged.
    """
    bad: dict[int, str] = {}
    layout = _layout(trained.option, _head(file), trained.encoding)
    with closing(stream(file, name, layout, bad.__setitem__)) as pieces:
        for piece in pieces:
            numbers, encoded = _coded(piece, name, trained, bad)
            for start in range(0, len(numbers), size):
                here = numbers[start : start + size]
                yield Items(here, encoded[start : start + size], _faults(here, bad, name))
    yield Items([], torch.zeros(0, trained.encoding.width), _faults([max(bad, default=0)], bad, name))


def _coded(piece: Rows, name: str, trained: Trained, bad: dict[int, str]) -> tuple[list[int], Tensor]:
    """The rows whose cells are what they should be; the others go to `bad`."""
    encoding = trained.encoding
    if piece.table.num_columns:
        has(piece.table, encoding.names, name)
    if piece.table.num_rows == 0:
        return [], torch.zeros(0, encoding.width)
    table = pa.Table.from_batches([piece.table]).select(list(encoding.names))
    inputs = Inputs(
        *([code.name for code in codes] for codes in (encoding.numbers, encoding.dates, encoding.categories))
    )
    rows, wrong = frame(table, inputs, trained.option)
    good = np.ones(len(rows), bool)
    for column in encoding.names:
        for place, said in wrong.get(column, {}).items():
            good[place] = False
            bad.setdefault(int(piece.numbers[place]), f"column {column}: {said}")
    kept = rows if good.all() else rows[torch.from_numpy(np.flatnonzero(good))]
    return piece.numbers[good].tolist(), encode(kept, encoding)


def _faults(numbers: list[int], bad: dict[int, str], name: str) -> list[Fault]:
    """Takes out of `bad` what stands before the last of these rows."""
    found = sorted(number for number in bad if number <= numbers[-1])
    behind = np.searchsorted(np.array(numbers), found).tolist()
    return [
        Fault(place, f"{name}, row {number}{_said(bad.pop(number))}")
        for place, number in zip(behind, found, strict=True)
    ]


def _said(said: str) -> str:
    return f", {said}" if said.startswith("column ") else f": {said}"


def _layout(option: TableFile, head: bytes, encoding: Encoding) -> Layout:
    """As training's was written; but a table that has a header, though that one had none, is read by its own."""
    names = None if option.columns is None else tuple(option.columns)
    if names is not None:
        first = head.decode(option.encoding, "replace").lstrip("\r\n").splitlines()[:1]
        cells = next(csv.reader(first, delimiter=option.delimiter or ","), [])
        names = None if set(encoding.names) <= {cell.strip() for cell in cells} else names
    return Layout(option.delimiter, option.encoding, names, BLOCK, frozenset(encoding.names))


def _head(file: "io.BufferedReader[io.RawIOBase]") -> bytes:
    """Some of the first bytes, decompressed; none where they are damaged, which reading them will tell."""
    head = file.peek(1)
    if not head.startswith(GZIP):
        return head
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head)
    except zlib.error:
        return b""
