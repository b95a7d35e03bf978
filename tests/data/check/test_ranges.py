"""Values outside of what train has: how far is far, and which words are new."""

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mtl_cli.data.base import Frame
from mtl_cli.data.check.ranges import inputs, targets
from tests.data.check.pieces import frame, labelled, pieces

INF, NAN = float("inf"), float("nan")
finite = st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=8)


@given(finite, finite)
def test_far_is_beyond_trains_smallest_and_largest_by_more_than_their_distance(train, test):
    assume(len(set(train)) > 1)
    low, high = min(train), max(train)
    far = [row for row, x in enumerate(test) if x < low - (high - low) or x > high + (high - low)]
    findings = targets("t", labelled(train=train, test=test))
    assert [(f.error, f.total) for f in findings] == ([(False, len(far))] if far else [])
    assert not far or findings[0].places == tuple(f"test {row}" for row in far[:5])


def test_infinite_values_are_errors_with_their_rows_and_an_empty_cell_is_none():
    its = pieces({"train": frame(a=[1.0, INF, 2.0, NAN]), "test": frame(a=[-INF])})
    (finding,) = inputs(its)
    assert (finding.error, finding.line) == (True, "column a is infinite in 2 rows")
    assert finding.places == ("train 1", "test 0")


def test_vectors_are_looked_at_column_by_column():
    its = pieces({"train": torch.tensor([[0.0, 1.0], [1.0, 1.0]]), "test": torch.tensor([[5.0, 1.0]])})
    assert [finding.line for finding in inputs(its)] == [
        "number 1: 1 row of test far outside of train's 0 to 1, as 5",
        "number 2 is constant in train: it tells nothing",
    ]


def test_dates_are_said_as_dates():
    days = {"train": [0.0, 10.0], "test": [40.0]}
    its = pieces({s: Frame({}, {"on": torch.tensor(d).double()}, {}, len(d)) for s, d in days.items()})
    (finding,) = inputs(its)
    assert finding.line.endswith("1 row of test far outside of train's 1970-01-01 to 1970-01-11, as 1970-02-10")


def test_new_words_are_named_with_their_share_and_known_ones_in_another_order_are_not_new():
    its = pieces({"train": frame(w=["x", "y", None]), "test": frame(w=["y", "z", None, "x"])})
    (finding,) = inputs(its)
    assert (finding.error, finding.line) == (
        False,
        "column w: in 1 row of test (25.0 %), words that train never has: z",
    )


def test_columns_that_tell_nothing_are_named():
    its = pieces({"train": frame(a=[NAN, NAN], b=[3.0, 3.0], c=["x", "x"], d=[None, None])})
    assert [finding.line for finding in inputs(its)] == [
        "column a is empty in train: leave it out",
        "column b is constant in train: it tells nothing",
        "column c is constant in train: it tells nothing",
        "column d is empty in train: leave it out",
    ]
