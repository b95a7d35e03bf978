"""Labels that nothing can be learned from, or that no figure can be made of."""

import pytest

from mtl_cli.data.check.labels import labels
from tests.data.check.pieces import labelled

NO, NAN = -100, float("nan")


@pytest.mark.parametrize(
    ("splits", "classes", "lines"),
    [
        ({"train": [0, 1], "val": [1], "test": [0]}, ("a", "b"), []),
        ({"train": [NO], "val": [1], "test": [0]}, ("a", "b"), [(True, "has no label in train")]),
        ({"train": [0, 0, NO], "val": [0], "test": [NO]}, ("a", "b"), [
            (False, "has no label in test"), (True, "is constant: every label in train is a"),
            (False, "no row has the class b"),
        ]),
        ({"train": [0, 1], "val": [0], "test": [2, 2, 1]}, ("a", "b", "c", "d"), [
            (True, "test has labels that train never has: c"), (False, "no row has the class d"),
        ]),
        ({"train": [1.5, 1.5], "val": [2.0], "test": [NAN]}, (), [
            (False, "has no label in test"), (True, "is constant: every label in train is 1.5"),
        ]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_labels_is_said(splits, classes, lines):
    findings = labels("t", labelled(**splits), classes)
    assert [finding.error for finding in findings] == [error for error, _ in lines]
    assert all(words in finding.line for finding, (_, words) in zip(findings, lines, strict=True))


def test_a_label_that_train_never_has_is_named_with_its_rows():
    findings = labels("t", labelled(train=[0, 1], val=[0], test=[2, 1, 2]), ("a", "b", "c"))
    assert (findings[0].places, findings[0].total) == (("test 0", "test 2"), 2)
