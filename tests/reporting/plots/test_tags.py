"""The picture of tags holds scikit-learn's numbers, tag by tag."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from mtl_cli.reporting.plots.calibration import bins, calibration
from mtl_cli.reporting.plots.scene import Tagged
from mtl_cli.reporting.plots.tags import SHOWN, tags, told
from tests.reporting.plots import scenes


def tagged(count: int, items: int = 60) -> Tagged:
    """Better than chance; the first tags are the rarest."""
    draw = np.random.default_rng(0)
    targets = (draw.random((items, count)) < np.linspace(0.1, 0.7, count)).astype(np.int64)
    probabilities = np.clip(0.6 * targets + 0.5 * draw.random((items, count)), 0, 1)
    return Tagged(tuple(f"tag {i}" for i in range(count)), targets, probabilities, 0.0421)


def test_precision_recall_and_f1_are_those_of_sklearn() -> None:
    answers = tagged(6)
    found = told(answers)
    precision, recall, f1, counts = precision_recall_fscore_support(answers.targets, answers.probabilities > 0.5)
    assert found.precision == pytest.approx(precision)
    assert found.recall == pytest.approx(recall)
    assert found.f1 == pytest.approx(f1)
    assert found.counts.tolist() == counts.tolist()


def test_a_tag_that_is_never_said_has_no_precision_and_one_that_never_occurs_no_recall() -> None:
    found = told(Tagged(("a", "b"), np.array([[1, 0], [1, 0]]), np.array([[0.4, 0.6], [0.2, 0.1]]), 0.0))
    assert np.isnan(found.precision).tolist() == [True, False]
    assert np.isnan(found.recall).tolist() == [False, True]
    assert found.f1.tolist() == [0.0, 0.0]


def test_the_most_frequent_tags_stand_first_with_how_many_have_them() -> None:
    answers = tagged(3)
    axes = tags(scenes.scene(), 0, answers).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"tag {i}  {answers.targets[:, i].sum()}" for i in (2, 1, 0)
    ]
    bars = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]  # bars are rectangles
    assert bars == pytest.approx(told(answers).f1[[2, 1, 0]].tolist())


def test_of_many_tags_some_are_left_out_and_it_is_said() -> None:
    axes = tags(scenes.scene(), 0, tagged(SHOWN + 30)).axes[0]
    assert len(axes.get_yticklabels()) == SHOWN
    assert axes.texts[0].get_text().endswith(f"the {SHOWN} most frequent of {SHOWN + 30} tags")


def test_each_answer_to_each_tag_is_a_prediction_in_the_bins() -> None:
    answers = Tagged(("a", "b"), np.array([[1, 0], [0, 0]]), np.array([[0.95, 0.02], [0.6, 1.0]]), 0.0421)
    found = bins(answers)
    assert found.counts[[9, 14]].tolist() == [1, 3]
    assert found.right[[9, 14]].tolist() == pytest.approx([0, 2 / 3])
    assert found.certainty[14] == pytest.approx((0.95 + 0.98 + 1.0) / 3)
    above, _ = calibration(scenes.scene(), 0, answers).axes
    assert above.texts[0].get_text() == "sample, test, epoch 4 · ECE 0.0421 · 4 answers, one a tag"
