import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_cli.reporting.wording import NUMBER_WIDTH, duration, number, quoted, shorten


@given(st.floats())
def test_any_number_fits_its_column(value):
    assert len(number(value)) <= NUMBER_WIDTH


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (math.nan, "-"), (math.inf, "inf"), (0.0, "0.0000"), (0.98123, "0.9812"), (-0.5, "-0.5000"),
        (12.3456, "12.346"), (123.456, "123.46"), (99.9999, "100.00"), (54321.0, "54321"), (1234567.0, "1.2e+06"),
        (0.00001, "1.0e-05"), (1.0, "1.0000"),
    ],
)  # fmt: skip
def test_a_number_keeps_the_digits_that_matter(value, text):
    assert number(value) == text


@given(st.text(min_size=1), st.integers(2, 30))
def test_a_short_name_stays_and_a_long_one_keeps_both_ends(name, width):
    short = shorten(name, width)
    assert len(short) <= width
    if len(name) <= width:
        assert short == name
    else:
        head, tail = short.split("…")[0], short.rsplit("…", 1)[1]
        assert name.startswith(head)
        assert name.endswith(tail)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (61, "1:01"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_a_duration_reads_as_a_clock(seconds, text):
    assert duration(seconds) == text


def test_a_path_is_written_as_one_would_type_it_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert quoted(tmp_path / "runs" / "a") == "runs/a"
    assert quoted(Path("runs/with space")) == "'runs/with space'"
    assert quoted(tmp_path.parent / "b") == str(tmp_path.parent / "b")
