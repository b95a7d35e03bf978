"""What stands in one column of a table: its distinct cells as text, how often each, and what all of them are."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WHOLE = re.compile(r"([+-]?\d+)(\.0*)?")
COMMA = re.compile(r"[+-]?\d{1,3}(\.\d{3})*,\d+|[+-]?\d+,\d+")
"""A number with a decimal comma."""
OTHER_DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}( .*)?")
UNKNOWN = frozenset({"?", "-", "--", "n/a", "unknown", "missing", "na", "nan", "none", "null", "."})
"""Words that stand for an empty cell where all others are numbers or dates; a question mark does so anywhere."""

Is = Literal["numbers", "dates", "words", "empty", "nested", "decimal commas", "other dates", "infinite"]


class Facts(NamedTuple):
    """One column.

    counts: how often each distinct cell, none of them empty, stands in it; typical cells first. missing: empty cells.
    codes: what stands for an empty cell beside what always does.
    """

    name: str
    rows: int
    is_: Is
    counts: Mapping[str, int]
    missing: int
    codes: tuple[str, ...] = ()

    @property
    def there(self) -> int:
        """Cells that are not empty."""
        return self.rows - self.missing

    @property
    def partial(self) -> bool:
        """Whether cells are empty, or hold a code where the others are numbers: a question mark may be an answer."""
        return self.missing > 0 and (not self.codes or self.is_ != "words")

    @property
    def whole(self) -> bool:
        """Whether all are whole numbers."""
        return self.is_ == "numbers" and all(WHOLE.fullmatch(cell) for cell in self.counts)

    @property
    def values(self) -> list[float]:
        """The distinct numbers, in order."""
        return sorted(float(cell) for cell in self.counts)

    @property
    def mean(self) -> float:
        """Of numbers."""
        return math.fsum(float(cell) * count for cell, count in self.counts.items()) / max(self.there, 1)


def facts(name: str, cells: pa.ChunkedArray, empty: frozenset[str]) -> Facts:
    """Looks at every cell; `empty` is what is written in empty ones."""
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return Facts(name, len(cells), "nested", {}, cells.null_count)
    counts = _counts(cells.cast(kind) if pa.types.is_dictionary(cells.type) else cells)
    missing = sum(count for cell, count in counts.items() if cell is None or cell in empty)
    there = {cell: count for cell, count in counts.items() if cell is not None and cell not in empty}
    codes: tuple[str, ...] = ()
    for test in (_is_number, _is_date):
        odd = [cell for cell in there if not test(cell)]
        if odd and len(odd) < len(there) and all(cell.lower() in UNKNOWN for cell in odd):
            codes = tuple(sorted(odd))
    codes = codes or tuple(cell for cell in there if cell == "?" and len(there) > 1)
    missing += sum(there.pop(code) for code in codes)
    return Facts(name, len(cells), _is(there, kind), there, missing, codes)


def _counts(cells: pa.ChunkedArray) -> dict[str | None, int]:
    """How often each text, without blanks around it; the most frequent first, None for null."""
    pairs = pa.compute.value_counts(cells)
    found: dict[str | None, int] = {}
    for value, count in zip(_texts(pairs.field("values")), pairs.field("counts").to_pylist(), strict=True):
        found[value] = found.get(value, 0) + count
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _texts(values: pa.Array) -> list[str | None]:
    try:
        words = values.cast(pa.large_string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        words = [None if value is None else str(value) for value in values.to_pylist()]
    return [None if word is None else _same(word.strip()) for word in words]


def _same(word: str) -> str:
    """A whole number in one way of writing it: 1.0 is 1."""
    match = re.fullmatch(r"([+-]?\d+)\.0+", word)
    return match.group(1) if match else word


def _is(there: Mapping[str, int], kind: pa.DataType) -> Is:
    if not there:
        return "empty"
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return "nested"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "dates"
    if pa.types.is_floating(kind) and any("inf" in cell for cell in there):
        return "infinite"
    if all(map(_is_number, there)):
        return "numbers"
    tests: dict[Is, Callable[[str], bool]] = {
        "dates": _is_date,
        "decimal commas": lambda cell: bool(COMMA.fullmatch(cell)),
        "other dates": lambda cell: bool(OTHER_DATE.fullmatch(cell)),
    }
    return next((name for name, test in tests.items() if all(map(test, there))), "words")


def _is_number(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell)) and math.isfinite(float(cell))


def _is_date(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell)
    except ValueError:
        return False
    return not NUMBER.fullmatch(cell)
