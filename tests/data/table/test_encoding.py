import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_cli.data.base import MISSING, Column, Frame
from mtl_cli.data.table.encoding import encode, fit_encoding, joined

nan = math.nan


def frame(**columns: list[float] | list[str | None]) -> Frame:
    """Columns named n... are numbers, d... dates, w... words."""
    numbers = {k: torch.tensor(v, dtype=torch.float64) for k, v in columns.items() if k[0] == "n"}
    dates = {k: torch.tensor(v, dtype=torch.float64) for k, v in columns.items() if k[0] == "d"}
    categories = {}
    for name, cells in columns.items():
        if name[0] == "w":
            classes = tuple(sorted({cell for cell in cells if isinstance(cell, str)}))
            codes = [classes.index(cell) if isinstance(cell, str) else MISSING for cell in cells]
            categories[name] = Column(torch.tensor(codes), classes)
    return Frame(numbers, dates, categories, len(next(iter(columns.values()))))


def test_numbers_are_standardised_by_train_and_an_empty_cell_is_the_mean():
    code = fit_encoding(frame(n=[1.0, 3.0, nan]), 1)
    assert (code.numbers[0].mean, code.numbers[0].std, code.numbers[0].indicator) == (2, 1, True)
    assert encode(frame(n=[1.0, 4.0, nan]), code).tolist() == [[-1, 0], [2, 0], [0, 1]]


def test_without_empty_cells_in_train_there_is_no_indicator_and_a_later_one_is_the_mean():
    code = fit_encoding(frame(n=[1.0, 3.0]), 1)
    assert encode(frame(n=[nan, 3.0]), code).tolist() == [[0], [1]]


def test_a_large_offset_loses_no_digit():
    code = fit_encoding(frame(n=[1e15, 1e15 + 2]), 1)
    assert encode(frame(n=[1e15, 1e15 + 1, 1e15 + 2]), code).tolist() == [[-1], [0], [1]]


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [nan, nan], [0.1, 0.1, 0.1]])
def test_a_constant_or_empty_column_is_zero(values):
    assert encode(frame(n=values), fit_encoding(frame(n=values), 1))[:, 0].abs().max() < 1e-9


@given(
    st.lists(st.floats(allow_infinity=False), min_size=1, max_size=8),
    st.lists(st.floats(allow_infinity=False), max_size=4),
)
def test_any_finite_numbers_become_finite_features(train, later):
    code = fit_encoding(frame(n=train), 1)
    assert encode(frame(n=train + later), code).isfinite().all()


def test_dates_are_days_with_the_year_the_week_and_the_day_on_circles():
    code = fit_encoding(frame(d=[0.0, 7.25, nan]), 1)
    assert (code.dates[0].clock, code.dates[0].indicator, code.width) == (True, True, 8)
    row = encode(frame(d=[7.25]), code)[0].tolist()
    year, week, day = 2 * math.pi * 7 / 365.2425, 0.0, math.pi / 2
    circles = [f(turn) for turn in (year, week, day) for f in (math.sin, math.cos)]
    assert row == pytest.approx([1.0, *circles, 0.0], abs=1e-6)
    assert encode(frame(d=[nan]), code)[0].tolist() == [0] * 7 + [1]


def test_words_have_codes_from_one_and_what_train_lacks_is_zero():
    code = fit_encoding(frame(w=["b", "a", "b"]), 1)
    assert (code.categories[0].words, code.cardinalities) == (("a", "b"), (3,))
    assert encode(frame(w=["a", "c", None, "b"]), code).tolist() == [[1], [0], [0], [2]]


def test_empty_cells_of_train_are_a_word_of_their_own():
    code = fit_encoding(frame(w=["b", "a", None]), 1)
    assert code.cardinalities == (4,)
    assert encode(frame(w=["a", "c", None, "b"]), code).tolist() == [[1], [0], [3], [2]]


def test_rare_words_and_rare_empty_cells_are_unknown():
    code = fit_encoding(frame(w=["a", "a", "b", None]), 2)
    assert (code.categories[0].words, code.cardinalities) == (("a",), (2,))
    assert encode(frame(w=["a", "b", None]), code).tolist() == [[1], [0], [0]]


def test_a_row_is_numbers_then_dates_then_codes():
    rows = frame(n=[1.0, 3.0], w=["x", "y"], d=[0.0, 2.0])
    code = fit_encoding(rows, 1)
    found = encode(rows, code)
    assert found.shape == (2, code.width) == (2, 1 + 5 + 1)
    assert found[:, 0].tolist() == [-1, 1]
    assert found[:, 1].tolist() == [-1, 1]
    assert found[:, -1].tolist() == [1, 2]


def test_tables_joined_share_their_words():
    both = joined([frame(n=[1.0], w=["b"]), frame(n=[2.0, nan], w=["a", None])])
    assert both.numbers["n"][:2].tolist() == [1, 2]
    column = both.categories["w"]
    assert [None if c == MISSING else column.classes[c] for c in column.values.tolist()] == ["b", "a", None]
    assert encode(both, fit_encoding(both, 1))[:, -1].unique().numel() == 3
