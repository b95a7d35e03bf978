"""Equal inputs are found wherever they stand, and nothing else is taken for equal."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_cli.data.check.duplicates import duplicates, twins
from mtl_cli.data.check.finding import Finding
from tests.data.check.pieces import frame, pieces

rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12)


@given(rows, rows)
def test_rows_have_one_number_where_all_their_cells_are_equal(first, second):
    its = twins({"train": torch.tensor(first).float(), "test": torch.tensor(second).float()})
    numbers = [*its.groups["train"].tolist(), *its.groups["test"].tolist()]
    cells = [*first, *second]
    for i, a in enumerate(cells):
        assert [number == numbers[i] for number in numbers] == [a == b for b in cells]
    assert its.repeated == sum(cells.count(cell) > 1 for cell in cells)


def test_words_are_equal_whatever_their_codes_and_two_empty_cells_are_too():
    train = frame(a=[1.0, float("nan"), -0.0], word=["x", "y", None])
    test = frame(a=[float("nan"), 0.0, 1.0], word=["y", None, "y"])
    groups = twins({"train": train, "test": test}).groups
    assert groups["test"].tolist() == [groups["train"][1], groups["train"][2], 3]


def told(findings: list[Finding]) -> list[tuple[bool, str, tuple[str, ...]]]:
    return [(finding.error, finding.line, finding.places) for finding in findings]


def test_an_image_of_train_that_stands_in_test_is_an_error_with_both_places():
    images = torch.arange(6)[:, None, None, None].to(torch.uint8)
    its = pieces({"train": images[:4], "test": images[[4, 1, 5]]})
    assert told(duplicates(its, {})) == [
        (True, "the same input in train and test: 1 of 3 in test (33.3 %)", ("test 1 = train 1",))
    ]


def test_less_than_a_thousandth_of_test_is_a_warning_only():
    images = torch.arange(4004, dtype=torch.int16).view(torch.uint8).reshape(4004, 1, 1, 2)
    train, test = images[:2002], torch.cat([images[2002:], images[:1]])
    (finding,) = duplicates(pieces({"train": train, "test": test}), {})
    assert not finding.error
    (finding,) = duplicates(pieces({"train": train, "test": test[-900:]}), {})
    assert finding.error


def test_doubles_within_a_split_are_a_warning_that_names_the_first_of_them():
    its = pieces({"train": torch.tensor([[1.0], [2.0], [1.0], [1.0]]), "test": torch.tensor([[3.0]])})
    assert told(duplicates(its, {})) == [
        (False, "train has 2 inputs more than once", ("train 2 = train 0", "train 3 = train 0"))
    ]


def test_rows_of_a_table_with_few_values_are_called_coarse_and_no_leak():
    train, test = frame(a=[0.0, 1.0, 0.0, 1.0]), frame(a=[0.0, 2.0])
    lines = told(duplicates(pieces({"train": train, "test": test}), {}))
    assert lines[0][1] == (
        "4 rows of train have a twin there (100.0 %), and about as many in other splits: the input columns are too "
        "coarse to tell rows apart, or rows were copied"
    )
    assert not any(error for error, _, _ in lines)


def test_two_rows_of_one_file_are_named_with_the_file_once():
    its = pieces({"train": frame(a=[1.0, 1.0]), "test": frame(a=[2.0])})
    its = {split: piece._replace(where=lambda row: f"a, b.csv, row {row}") for split, piece in its.items()}
    assert duplicates(its, {})[-1].places == ("a, b.csv, row 1 = row 0",)


def test_a_row_of_a_table_in_two_splits_is_an_error_where_rows_are_told_apart():
    train, test = frame(a=[float(i) for i in range(200)]), frame(a=[7.0, 300.0])
    (finding,) = duplicates(pieces({"train": train, "test": test}), {})
    assert (finding.error, finding.places) == (True, ("test 0 = train 7",))


def test_twins_with_different_labels_are_counted_by_task_and_missing_labels_are_none():
    inputs = {"train": torch.tensor([[1.0], [1.0], [2.0], [2.0]]), "test": torch.tensor([[1.0]])}
    targets = {"train": {"a": [0, 1, 0, -100], "b": [0, 0, 1, 1]}, "test": {"a": [-100], "b": [1]}}
    findings = duplicates(pieces(inputs, targets), {"a": ("x", "y"), "b": ("x", "y")})
    lines = [finding.line for finding in findings if "another label" in finding.line]
    assert lines == [
        "task a: 2 labelled inputs have a twin with another label",
        "task b: 3 labelled inputs have a twin with another label",
    ]
