"""A reliability diagram shows the bins that its error is made of."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from mtl_cli.reporting.plots.calibration import bins, calibration
from mtl_cli.reporting.plots.scene import BINS, Classed
from tests.reporting.plots import scenes


def test_bins_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.97, 0.03], [0.4, 0.6], [1.0, 0.0]])
    found = bins(Classed(("a", "b"), np.array([0, 1, 1, 0]), probabilities, 0.0))
    assert found.counts.tolist() == [0] * 9 + [1] + [0] * 4 + [3]  # .6 begins the tenth; 1 is in the last
    assert found.right[[9, 14]].tolist() == [1.0, 2 / 3]
    assert found.certainty[[9, 14]].tolist() == pytest.approx([0.6, (0.95 + 0.97 + 1.0) / 3])
    assert np.isnan(found.right[0])


@pytest.mark.parametrize("classes", [2, 10])
def test_the_bins_add_up_to_the_error_of_torchmetrics(classes: int) -> None:
    answers = scenes.classed(classes, 500)
    found = bins(answers)
    error = np.nansum(found.counts * np.abs(found.right - found.certainty)) / found.counts.sum()
    targets, probabilities = torch.from_numpy(answers.targets), torch.from_numpy(answers.probabilities)
    assert error == pytest.approx(float(multiclass_calibration_error(probabilities, targets, classes, BINS)), abs=1e-6)


def test_the_diagram_shows_bins_and_error() -> None:
    answers = scenes.classed(4)
    found = bins(answers)
    above, below = calibration(scenes.scene(), 0, answers).axes
    heights = [bar.get_height() for bar in above.patches]  # type: ignore[attr-defined]  # bars are rectangles
    assert heights == pytest.approx(found.right[found.counts > 0].tolist())
    shares = [bar.get_height() for bar in below.patches]  # type: ignore[attr-defined]  # as above
    assert shares == pytest.approx((found.counts / 200).tolist())
    assert above.texts[0].get_text() == "sample, test, epoch 4 · ECE 0.0421 · 200 labels"
