"""A confusion matrix holds the counts of sklearn's, class by class."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from mtl_cli.reporting.plots.confusion import confusion, counts
from mtl_cli.reporting.plots.scene import Classed
from tests.reporting.plots import scenes


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_the_counts_are_those_of_sklearn(classes: int) -> None:
    answers = scenes.classed(classes)
    predicted = answers.probabilities.argmax(1)
    assert np.array_equal(counts(answers), confusion_matrix(answers.targets, predicted, labels=range(classes)))


def test_a_cell_shows_its_count_and_its_share_of_the_true_class() -> None:
    certain = np.eye(3)[[0, 1, 1, 1, 2]]
    answers = Classed(("a", "b", "c"), np.array([0, 0, 0, 1, 2]), certain, 0.0)
    figure = confusion(scenes.scene(), 0, answers)
    cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts if "\n" in text.get_text()}
    assert cells == {(0, 0): "1\n33%", (1, 0): "2\n67%", (1, 1): "1\n100%", (2, 2): "1\n100%"}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


def test_a_class_without_a_sample_has_an_empty_row() -> None:
    answers = Classed(("a", "b"), np.array([0, 0]), np.eye(2)[[0, 1]], 0.0)
    shares = np.asarray(confusion(scenes.scene(), 0, answers).axes[0].images[0].get_array())
    assert shares.tolist() == [[0.5, 0.5], [0.0, 0.0]]


def test_many_classes_have_shades_alone() -> None:
    assert len(confusion(scenes.scene(), 0, scenes.classed(20)).axes[0].texts) > 20
    line = 1  # beneath the title
    assert len(confusion(scenes.scene(), 0, scenes.classed(100)).axes[0].texts) == line
