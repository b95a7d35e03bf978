"""Reads JSON lines: an object a row, its keys the columns."""

import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from mtl_cli.data.table.feed import UNKNOWN, Feed
from mtl_cli.data.table.rows import Bad, Layout, Rows
from mtl_cli.options import ConfigError, text

LINES = 1 << 14
"""Lines that are read at once."""
INT64 = range(-(2**63), 2**63)
Row = dict[str, Any]


class LineError(Exception):
    """What is wrong with a line, as it stands behind its number."""


def json_rows(feed: Feed, name: str, layout: Layout, bad: Bad) -> Iterator[Rows]:
    """Numbers, booleans and text as they are; a key that a row lacks is null in it.

    Raises: ConfigError: no row.
    """
    file = io.BufferedReader(feed)
    numbered = enumerate((line for line in file if line.strip()), 1)
    columns: dict[str, None] = {}
    while lines := list(islice(numbered, LINES)):
        rows: dict[int, Row] = {}
        for number, line in lines:
            try:
                rows[number] = _row(line, layout)
            except LineError as error:
                bad.add(number, str(error))
        columns |= {key: None for row in rows.values() for key in row}
        arrays = [_array([row.get(key) for row in rows.values()]) for key in columns]
        bad.tell()
        yield Rows(np.fromiter(rows, np.int64), pa.RecordBatch.from_arrays(arrays, names=list(columns)))
    if not columns:
        raise ConfigError(f"{name} is empty: it should have a JSON object on each line")


def _row(line: bytes, layout: Layout) -> Row:
    try:
        words = line.decode("utf-8-sig")
        row = json.loads(words, object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise LineError(f": {text(line.decode(errors='backslashreplace'))} is not of the file's encoding") from None
    except (ValueError, RecursionError) as error:
        raise LineError(f": {text(words)} is no JSON ({text(str(error))})") from None
    if UNKNOWN in words or ("\\u" in words and not _written(row)):
        raise LineError(f": {text(words)} is not of the file's encoding")
    if not isinstance(row, dict):
        raise LineError(f': {text(words)} is no JSON object: each line should be one, {{"column": value, ...}}')
    for key, value in row.items():
        if layout.skips(key):
            row[key] = None
        elif isinstance(value, list) and all(isinstance(word, str) for word in value):
            row[key] = ",".join(value)  # tags, as a cell of CSV would have them
        elif isinstance(value, dict | list):
            raise LineError(
                f", column {text(key)}: {text(value)} is nested: a cell is text, a number, true, false, null, or a "
                "list of words"
            )
    return row


def _written(row: Any) -> bool:
    """Whether it has no half of a surrogate pair, which no file can hold."""
    try:
        return bool(json.dumps(row, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


def _once(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise LineError(f", column {text(twice)}: it is there twice: give each a name of its own")
    return row


def _array(values: list[Any]) -> pa.Array:
    """Of one type where all are numbers or all booleans, else text, so that no digit is lost."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(value is None or value in INT64 for value in values):
        return pa.array(values, pa.int64())
    if kinds == {float}:
        return pa.array(values, pa.float64())
    return pa.array([value if isinstance(value, str | None) else json.dumps(value) for value in values], pa.string())
