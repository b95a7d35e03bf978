"""From a column to a task's targets: what is taken, what is derived, and the line that tells a mistake."""

import math
from typing import Any

import pytest
import torch

from mtl_cli.data.base import Column
from mtl_cli.options import ConfigError
from mtl_cli.tasks.options import KINDS
from mtl_cli.tasks.target import column_of
from tests.options import task_option

ANIMALS = Column(torch.tensor([0, 1, 2, -100, 1]), ("cat", "dog", "ship"))
HEIGHTS = Column(torch.tensor([1.5, torch.nan, -2.0, 7.0, 7.0]), None)
COLUMNS = {"label": ANIMALS, "height": HEIGHTS}


def encode(kind: str, column: Column) -> tuple[torch.Tensor, tuple[str, ...]]:
    return KINDS.target(task_option(kind)).encode("t", task_option(kind), column)


def mistake(target: Any) -> str:
    """The line that answers a wrong target."""
    with pytest.raises(ConfigError) as found:
        column_of("animal", target, COLUMNS)
    line = str(found.value)
    assert "\n" not in line
    return line


def test_a_named_column_is_taken_as_it_is() -> None:
    assert column_of("t", "label", COLUMNS) is ANIMALS


def test_a_map_to_names_makes_classes_in_the_order_of_their_first_mention_and_keeps_missing_labels() -> None:
    column = column_of("t", {"from": "label", "map": {"ship": "thing", "cat": "pet", "dog": "pet"}}, COLUMNS)
    assert column.classes == ("thing", "pet")
    assert column.values.tolist() == [1, 1, 0, -100, 1]


def test_null_in_a_map_of_names_is_a_missing_label() -> None:
    column = column_of("t", {"from": "label", "map": {"cat": "pet", "dog": None, "ship": "thing"}}, COLUMNS)
    assert column.classes == ("pet", "thing")
    assert column.values.tolist() == [0, -100, 1, -100, -100]


def test_a_map_to_numbers_makes_a_column_of_numbers_with_nan_where_nothing_is_known() -> None:
    column = column_of("t", {"from": "label", "map": {"cat": 4, "dog": None, "ship": 0.5}}, COLUMNS)
    assert column.classes is None
    expected = torch.tensor([4.0, torch.nan, 0.5, torch.nan, torch.nan])
    torch.testing.assert_close(column.values, expected, equal_nan=True)


def test_classes_with_whole_numbers_for_names_may_be_mapped_by_number() -> None:
    digits = {"digit": Column(torch.tensor([1, 0]), ("0", "1"))}
    assert column_of("t", {"from": "digit", "map": {0: 1, 1: 0}}, digits).values.tolist() == [0.0, 1.0]


def test_is_asks_for_one_class_against_the_rest_and_keeps_missing_labels() -> None:
    column = column_of("t", {"from": "label", "is": "dog"}, COLUMNS)
    assert column.classes == ("not dog", "dog")
    assert column.values.tolist() == [0, 1, 0, -100, 1]
    target, classes = encode("binary", column)
    assert classes[1] == "dog"
    torch.testing.assert_close(target, torch.tensor([0.0, 1.0, 0.0, torch.nan, 1.0]), equal_nan=True)


def test_is_takes_a_class_with_a_whole_number_for_a_name() -> None:
    digits = {"digit": Column(torch.tensor([1, 0]), ("0", "1"))}
    assert column_of("t", {"from": "digit", "is": 0}, digits).values.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("lable", ["tasks.animal.target=lable", "did you mean label?"]),
        ({"from": "lable", "map": {}}, ["tasks.animal.target.from=lable", "did you mean label?"]),
        ({"from": ["label"], "map": {}}, ["tasks.animal.target.from=[label]", "label"]),
        ({"from": 3, "map": {}}, ["tasks.animal.target.from=3", "choose from height, label"]),
        ({"form": "label", "map": {}}, ["tasks.animal.target.form=label", "did you mean from?"]),
        ({"from": "label"}, ["tasks.animal.target={from: label}", "{from: column, map: {old: new}}"]),
        ({"from": "label", "is": "dgo"}, ["tasks.animal.target.is=dgo", "did you mean dog?"]),
        ({"from": "label", "is": ["dog"]}, ["tasks.animal.target.is=[dog]", "dog"]),
        ({"from": "label", "is": None}, ["tasks.animal.target.is=null", "choose from cat, dog, ship"]),
        ({"from": "height", "is": "dog"}, ["tasks.animal.target.is", "numbers"]),
        ({"from": "lable", "is": "dog"}, ["tasks.animal.target.from=lable", "did you mean label?"]),
        ({"is": "dog"}, ["tasks.animal.target={is: dog}", "{from: column, is: class}"]),
        (
            {"from": "label", "is": "dog", "map": {"cat": 1, "dog": 1, "ship": 0}},
            ["tasks.animal.target=", "{from: column, map: {old: new}} or {from: column, is: class}"],
        ),
        ({"from": "height", "map": {"cat": 1}}, ["tasks.animal.target.map", "numbers", "without a map"]),
        (
            {"from": "label", "map": {"cat": 1, "dgo": 1, "ship": 0}},
            ["tasks.animal.target.map.dgo=1", "did you mean dog?"],
        ),
        (
            {"from": "label", "map": {"cat": 1}},
            ["tasks.animal.target.map", "every class", "dog, ship", "null: no label"],
        ),
    ],
)
def test_a_wrong_target_is_answered_by_its_key_its_value_and_the_way_out(target: Any, words: list[str]) -> None:
    line = mistake(target)
    for word in words:
        assert word in line


def test_classification_takes_classes_and_makes_them_of_whole_numbers() -> None:
    assert encode("classification", ANIMALS)[1] == ("cat", "dog", "ship")
    codes, classes = encode("classification", Column(torch.tensor([7.0, torch.nan, -2.0, 7.0]), None))
    assert classes == ("-2", "7")
    assert codes.tolist() == [1, -100, 0, 1]


@pytest.mark.parametrize("wrong", [2.5, torch.inf])
def test_classification_names_the_number_that_is_no_class(wrong: float) -> None:
    with pytest.raises(ConfigError, match=rf"tasks.t.target should be classes. Found .*{wrong}"):
        encode("classification", Column(torch.tensor([0.0, 1.0, wrong]), None))


def test_binary_takes_the_second_of_two_classes_for_a_yes() -> None:
    target, classes = encode("binary", Column(torch.tensor([0, 1, -100]), ("no", "yes")))
    assert classes == ("no", "yes")
    torch.testing.assert_close(target, torch.tensor([0.0, 1.0, torch.nan]), equal_nan=True)


def test_binary_takes_zeros_and_ones() -> None:
    target, classes = encode("binary", Column(torch.tensor([1.0, torch.nan, 0.0]), None))
    assert classes == ("0", "1")
    torch.testing.assert_close(target, torch.tensor([1.0, torch.nan, 0.0]), equal_nan=True)


@pytest.mark.parametrize(("column", "found"), [(ANIMALS, "3 classes"), (HEIGHTS, "-2.0, 1.5, 7.0")])
def test_binary_refuses_more_than_two_values_and_shows_a_map(column: Column, found: str) -> None:
    with pytest.raises(ConfigError, match=rf"tasks.t.target .*{found}.*from: column, map") as error:
        encode("binary", column)
    assert "\n" not in str(error.value)


TAGS = Column(torch.tensor([0, 1, -100, 2, 0]), (" red,round", "round , red,, blue", "none"))


def tags(column: Column, **changes: Any) -> tuple[list[list[float]], tuple[str, ...]]:
    option = task_option("multilabel", **changes)
    target, classes = KINDS.target(option).encode("t", option, column)
    return target.tolist(), classes


def test_multilabel_takes_the_tags_of_a_cell_apart_and_sorts_them() -> None:
    target, classes = tags(TAGS, none="none")
    assert classes == ("blue", "red", "round")
    assert target[:2] == [[0, 1, 1], [1, 1, 1]]
    assert target[3:] == [[0, 0, 0], [0, 1, 1]]
    assert all(math.isnan(x) for x in target[2])


def test_an_empty_cell_is_no_tag_only_where_it_is_said_so() -> None:
    target, classes = tags(TAGS, none="")
    assert classes == ("blue", "none", "red", "round")
    assert target[2] == [0, 0, 0, 0]


def test_tags_may_be_separated_by_anything() -> None:
    column = Column(torch.tensor([0, 1]), ("a, b||c", "c"))
    assert tags(column, separator="||")[1] == ("a, b", "c")


def test_cells_that_no_row_has_bring_no_tags() -> None:
    assert tags(Column(torch.tensor([0, 2, 0]), ("a", "b", "a,c")))[1] == ("a", "c")


@pytest.mark.parametrize(
    ("column", "changes", "words"),
    [
        (HEIGHTS, {}, ["tasks.t.target should be text, tags with , between them", "numbers"]),
        (Column(torch.tensor([0, 0]), ("a",)), {}, ["tasks.t.target should have two tags or more", "only a"]),
        (Column(torch.tensor([0, 1]), ("a,b", " , ")), {}, ["','", "names no tag", "tasks.t.none=TEXT"]),
        (Column(torch.tensor([0, 1]), ("a,b", "a,none")), {"none": "none"}, ["tasks.t.none=none", "'a,none'"]),
    ],
)
def test_cells_that_are_no_tags_are_named(column: Column, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as found:
        tags(column, **changes)
    line = str(found.value)
    assert "\n" not in line
    for word in words:
        assert word in line


def test_regression_takes_numbers_and_refuses_classes_and_infinite_ones() -> None:
    torch.testing.assert_close(encode("regression", HEIGHTS)[0], HEIGHTS.values, equal_nan=True)
    with pytest.raises(ConfigError, match=r"tasks.t.target should be numbers. Found 3 classes: give it a map"):
        encode("regression", ANIMALS)
    with pytest.raises(ConfigError, match=r"tasks.t.target should be finite"):
        encode("regression", Column(torch.tensor([1.0, torch.inf]), None))
