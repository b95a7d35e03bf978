import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_cli.data.base import MISSING
from mtl_cli.data.table.cells import days, numbers, ordered, words

EMPTY = frozenset({"", "NaN", "-1"})


def column(cells: list[Any], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(cells, kind)])


def same(got: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(np.array(got), np.array(expected))


nan = math.nan


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (["1", " 2.5 ", "-3e2", "+4", ".5", "007"], None, [1, 2.5, -300, 4, 0.5, 7]),
        (["", None, "NaN", "-1", "-1.0", "x"], None, [nan, nan, nan, nan, nan, nan]),
        ([1, None, -1], pa.int8(), [1, nan, nan]),
        ([2**53 + 2, 2**64 - 1], pa.uint64(), [2**53 + 2, float(2**64 - 1)]),
        ([0.5, nan, None], pa.float32(), [0.5, nan, nan]),
        ([Decimal("1.25"), None], None, [1.25, nan]),
        ([True, False, None], None, [1, 0, nan]),
        ([None, None], pa.null(), [nan, nan]),
    ],
)
def test_numbers_by_hand(cells, kind, expected):
    same(numbers(column(cells, kind), EMPTY).values.tolist(), expected)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_a_number_written_and_read_is_the_same_to_the_last_bit(values):
    same(numbers(column([repr(value) for value in values]), frozenset()).values.tolist(), values)


@pytest.mark.parametrize(
    "cell", ["abc", "1,5", "1 000", "1_000", "0x10", "inf", "-Infinity", "true", "٣", "9" * 400, "1e999"]
)
def test_what_is_no_number_is_told_by_its_place(cell):
    found = numbers(column(["1", cell, "", cell]), EMPTY)
    assert list(found.wrong) == [1, 3]
    assert found.values.isnan().tolist() == [False, True, True, True]


def test_infinite_numbers_are_told_and_huge_ones_that_fit_are_not():
    assert list(numbers(column([1.0, math.inf, -math.inf]), EMPTY).wrong) == [1, 2]
    assert "infinite" in numbers(column(["inf"]), EMPTY).wrong[0]
    assert "float64" in numbers(column(["9" * 400]), EMPTY).wrong[0]
    assert numbers(column([str(10**30)]), EMPTY).values.tolist() == [1e30]


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (["1970-01-02", " 1969-12-31 ", "", "20000101"], None, [1, -1, nan, 10957]),
        (["1970-01-01T06:00", "1970-01-01 12:00:00", "1970-01-01T00:00+06:00"], None, [0.25, 0.5, -0.25]),
        ([date(1970, 1, 3), None], None, [2, nan]),
        ([datetime(1970, 1, 1, 12, tzinfo=UTC)], pa.timestamp("ms"), [0.5]),
        ([datetime(1970, 1, 1, 12, tzinfo=timezone(timedelta(hours=6)))], pa.timestamp("ns", "Asia/Dhaka"), [0.25]),
        ([datetime(1970, 1, 2, tzinfo=UTC)], pa.date64(), [1]),
    ],
)
def test_days_by_hand(cells, kind, expected):
    same(days(column(cells, kind), EMPTY).values.tolist(), expected)


@pytest.mark.parametrize("cell", ["31.12.2020", "12/31/2020", "2020-13-01", "2020", "yesterday"])
def test_what_is_no_date_is_told_by_its_place(cell):
    assert list(days(column(["2020-01-01", cell]), EMPTY).wrong) == [1]


@pytest.mark.parametrize(
    ("cells", "kind", "classes", "codes"),
    [
        (["b", " a", "b", None, "NaN", ""], None, ("a", "b"), [1, 0, 1, MISSING, MISSING, MISSING]),
        (["10", "9", "9.0", "-1"], None, ("9", "10"), [1, 0, 0, MISSING]),
        (["10", "9", "x"], None, ("10", "9", "x"), [0, 1, 2]),
        ([10.0, 9.0, 9.5, None], None, ("9", "9.5", "10"), [2, 0, 1, MISSING]),
        ([10, 9, -1], pa.int32(), ("9", "10"), [1, 0, MISSING]),
        ([True, None, False], None, ("false", "true"), [1, MISSING, 0]),
        (["1.50", "1.5"], None, ("1.5", "1.50"), [1, 0]),
        ([date(2020, 5, 1)], None, ("2020-05-01",), [0]),
        ([None], pa.null(), (), [MISSING]),
    ],
)
def test_words_by_hand(cells, kind, classes, codes):
    found = words(column(cells, kind), EMPTY)
    assert (found.classes, found.values.tolist()) == (classes, codes)


def test_words_of_a_dictionary_are_those_of_its_text():
    plain = column(["x", "", None, "y", "x"])
    coded = pa.chunked_array([plain.chunk(0).dictionary_encode()])
    assert words(coded, EMPTY).values.tolist() == words(plain, EMPTY).values.tolist() == [0, MISSING, MISSING, 1, 0]


@given(st.lists(st.integers(-(10**20), 10**20), unique=True))
def test_words_that_are_numbers_stand_in_their_order(values):
    assert ordered({str(value) for value in values}) == tuple(
        map(str, sorted(values, key=lambda v: (float(v), str(v))))
    )
