"""What a column's cells mean: numbers, days or words, and which of them mean nothing of the kind."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column
from mtl_cli.options import text

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"([+-]?\d+)\.0+", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}

Wrong = dict[int, str]
"""The cells that mean nothing of the kind, by their place, with what is said of each."""


class Numbers(NamedTuple):
    """(N,) float64, NaN where a cell is empty or wrong."""

    values: Tensor
    wrong: Wrong


def numbers(cells: pa.ChunkedArray, empty: frozenset[str]) -> Numbers:
    """Cells as numbers.

    Args:
        cells: of any type.
        empty: what is written in cells that are empty; numbers among them are compared as numbers.
    """
    kind = cells.type
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    ):
        values = _floats(cells)
        wrong = dict.fromkeys(np.flatnonzero(np.isinf(values)).tolist(), "an infinite number")
        found = Numbers(torch.from_numpy(values), wrong)
    else:
        written = _written(cells, empty)
        found = _all_numbers(written) or _parsed(written, _number)
    for code in empty:
        if NUMBER.fullmatch(code):
            found.values[found.values == float(code)] = torch.nan
    return found


def days(cells: pa.ChunkedArray, empty: frozenset[str]) -> Numbers:
    """Cells as days since 1970-01-01, in UTC where they name a zone."""
    kind = cells.type
    if pa.types.is_date(kind):
        return Numbers(torch.from_numpy(_floats(cells.cast(pa.date32()).cast(pa.int32()))), {})
    if pa.types.is_timestamp(kind):
        return Numbers(torch.from_numpy(_floats(cells.cast(pa.int64())) / PER_DAY[kind.unit]), {})
    return _parsed(_written(cells, empty), _day)


def words(cells: pa.ChunkedArray, empty: frozenset[str]) -> Column:
    """Cells as words, sorted, by number where all are numbers; a whole number such as 1.0 is the word 1."""
    codes, found = _distinct(_written(cells, empty))
    names = [WHOLE.sub(r"\1", word) if WHOLE.fullmatch(word) else word for word in found]
    nothing = {WHOLE.sub(r"\1", word) if WHOLE.fullmatch(word) else word for word in empty}
    classes = ordered({name for name in names if name not in nothing})
    place = {name: i for i, name in enumerate(classes)}
    table = np.array([*(place.get(name, MISSING) for name in names), MISSING])
    return Column(torch.from_numpy(table[codes]), classes)


def ordered(names: set[str]) -> tuple[str, ...]:
    """Words in their order: of numbers where all are, else of letters."""
    numeric = all(NUMBER.fullmatch(name) for name in names)
    return tuple(sorted(names, key=lambda name: (float(name) if numeric else 0.0, name)))


def _floats(cells: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """NaN for null."""
    return np.array(cells.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _all_numbers(written: pa.ChunkedArray) -> Numbers | None:
    """Where every cell that is not empty is a finite number: six times as fast as to look at each."""
    try:
        values = _floats(written)
    except pa.ArrowInvalid:
        return None
    whole = np.isfinite(values).sum() == len(written) - written.null_count
    return Numbers(torch.from_numpy(values), {}) if whole else None


def _parsed(written: pa.ChunkedArray, parse: Callable[[str], float | str]) -> Numbers:
    """Each distinct text parsed once; what comes back as text is what is said of it."""
    codes, found = _distinct(written)
    meant = [parse(word) for word in found]
    table = np.array([*(np.nan if isinstance(value, str) else value for value in meant), np.nan])
    odd = {i: value for i, value in enumerate(meant) if isinstance(value, str)}
    wrong = {int(i): odd[int(codes[i])] for i in np.flatnonzero(np.isin(codes, list(odd)))} if odd else {}
    return Numbers(torch.from_numpy(table[codes]), wrong)


def _distinct(written: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str]]:
    """(N,) places in the distinct texts, one beyond them for an empty cell."""
    encoded = pa.concat_arrays(written.chunks).dictionary_encode()
    found = encoded.dictionary.to_pylist()
    return np.array(encoded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False), np.int64), found


def _written(cells: pa.ChunkedArray, empty: frozenset[str]) -> pa.ChunkedArray:
    """Each cell's text without blanks around it, null where it is empty."""
    plain = cells.cast(cells.type.value_type) if pa.types.is_dictionary(cells.type) else cells
    trimmed = pa.compute.utf8_trim_whitespace(_as_text(plain))
    nothing = pa.compute.is_in(trimmed, pa.array(["", *empty], trimmed.type))
    found = pa.compute.if_else(nothing, None, trimmed)
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def _as_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text of any type's values; what Arrow cannot write is written as Python does."""
    try:
        return cells.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.chunked_array(
            [[None if value is None else str(value) for value in cells.to_pylist()]], pa.large_string()
        )


def _number(word: str) -> float | str:
    if not NUMBER.fullmatch(word):
        infinite = word.lstrip("+-").lower() in ("inf", "infinity")
        return f"{text(word)!r} is {'infinite' if infinite else 'no number'}"
    value = float(word)
    return f"{text(word)} is beyond what a float64 holds" if np.isinf(value) else value


def _day(word: str) -> float | str:
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        return f"{text(word)!r} is no date such as 2024-05-31 or 2024-05-31T14:30"
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH).total_seconds() / PER_DAY["s"]
