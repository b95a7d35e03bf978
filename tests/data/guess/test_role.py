"""What a column is taken for, by its cells alone."""

import pyarrow as pa
import pytest

from mtl_cli.data.guess.column import facts
from mtl_cli.data.guess.role import Role, role

EMPTY = frozenset({"", "NA", "nan"})


def guessed(cells: list[object], name: str = "x") -> Role:
    return role(facts(name, pa.chunked_array([pa.array(cells)]), EMPTY))


@pytest.mark.parametrize(
    ("cells", "kind", "use"),
    [
        (["1.5", "2", "", "3e2"] * 5, "regression", "numbers"),
        ([1, 2, 2, None, 3] * 5, "classification", "numbers"),
        (["0", "1.0", "1", ""] * 5, "binary", "numbers"),
        ([*map(str, range(40, 65))] * 2, "regression", "numbers"),
        (["yes", "no", "no"] * 5, "binary", "categories"),
        ([True, False, None] * 5, "binary", "categories"),
        (["a", "b", "c "] * 5, "classification", "categories"),
        (["red, round", "round", "red", "blue,red,round"] * 5, "multilabel", "categories"),
        (["red;round", "round", "red", "blue;red"] * 5, "multilabel", "categories"),
        (["Köln, Süd", "Rom", "Paris"] * 5, "classification", "categories"),
        (["2024-05-31", "2023-01-01T10:30", ""] * 5, None, "dates"),
        (["31.05.2024", "01.01.2023"] * 5, None, None),
        (["1,5", "2,25", "3,0"] * 5, None, None),
        ([float("inf"), 1.0, 2.0] * 5, None, None),
        ([*range(30)], None, None),
        ([f"name {i}" for i in range(30)], None, None),
        ([f"u{i:04x}" for i in range(30)], None, None),
        (["x"] * 10, None, None),
        ([""] * 10, None, None),
        ([None, None], None, None),
        (["x", ""] * 10, None, "categories"),
        (["7", ""] * 10, None, "numbers"),
        ([[1], [2]], None, None),
        ([b"a", b"b"], None, None),
        ([f"img/{i}.PNG" for i in range(9)], None, None),
        (["1e400", "2"] * 5, "binary", "categories"),
        (["5", "?", "12", "?", "7"] * 5, "classification", "numbers"),
    ],
    ids=str,
)
def test_cells_say_what_a_column_is(cells, kind, use):
    its = guessed(cells)
    assert (its.kind, its.use) == (kind, use)
    assert its.why
    assert "\n" not in its.why


def test_what_stands_for_empty_cells_is_told_and_counted():
    its = facts("x", pa.chunked_array([["5", "?", "", "12", "NA"]]), EMPTY)
    assert (its.codes, its.missing, its.there, its.partial) == (("?",), 3, 2, True)
    its = facts("x", pa.chunked_array([["a", "?", "b"]]), EMPTY)
    assert (its.codes, its.missing, its.partial) == (("?",), 1, False)  # it may be an answer


def test_a_word_that_never_stands_beside_a_tag_may_say_that_there_is_none():
    assert guessed(["lift, garage", "none", "lift", "garage"] * 5).no_tag == "none"
    assert guessed(["lift, none", "none", "lift", "garage, lift"] * 5).no_tag is None
    assert guessed(["lift; garage", "lift", "garage"] * 5).separator == ";"


def test_all_different_whole_numbers_are_identifiers_only_where_they_look_it():
    spread = [i * i * 7 for i in range(30)]
    assert guessed(spread, "area").kind == "regression"
    assert guessed(spread, "house_id").kind is None


def test_a_name_that_yaml_would_fill_in_is_left_out():
    assert guessed(["a", "b"] * 9, "${oc.env:HOME}").use is None
    assert guessed(["a", "b"] * 9, "???").use is None
