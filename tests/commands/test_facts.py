"""The calibration error, by hand and against torchmetrics."""

import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from mtl_cli.commands.facts import calibration_error
from mtl_cli.evaluation import Answers, Score
from tests.options import make_task

KIND = torch.tensor([0, 1, 2, 0])


def score(outputs: torch.Tensor, targets: torch.Tensor) -> Score:
    return Score(None, {}, {}, None, len(targets), Answers(outputs, targets))


def test_the_calibration_error_by_hand() -> None:
    yes = make_task("yes", "binary", torch.tensor([0.0, 1.0]), ("no", "yes"))
    probabilities = torch.tensor([0.9, 0.9, 0.1, 0.6])  # certain of .9 three times, right in two; of .6, wrong
    outputs = torch.logit(probabilities.double())[:, None]
    found = calibration_error(yes, score(outputs, torch.tensor([1.0, 0.0, 0.0, 0.0])))
    assert found == pytest.approx(3 / 4 * abs(2 / 3 - 0.9) + 1 / 4 * abs(0 - 0.6))


def test_of_tags_each_answer_is_a_prediction() -> None:
    task = make_task("tags", "multilabel", torch.eye(2), ("a", "b"))
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.6]])  # certain of .9 three times, right in two; of .6, wrong
    found = calibration_error(task, score(torch.logit(probabilities.double()), torch.tensor([[1.0, 0.0], [0.0, 0.0]])))
    assert found == pytest.approx(3 / 4 * abs(2 / 3 - 0.9) + 1 / 4 * abs(0 - 0.6))


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    task = make_task("kind", "classification", KIND, ("a", "b", "c"))
    draw = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(500, 3, generator=draw), torch.randint(0, 3, (500,), generator=draw)
    expected = MulticlassCalibrationError(3, n_bins=15)(outputs.softmax(1), targets)
    assert calibration_error(task, score(outputs, targets)) == pytest.approx(float(expected), abs=1e-6)


def test_full_certainty_is_in_the_last_bin() -> None:
    task = make_task("kind", "classification", KIND, ("a", "b", "c"))
    certain, nearly = [100.0, 0.0, 0.0], [4.0, 0.0, 0.0]  # probabilities 1 and .965
    outputs = torch.tensor([certain, certain, nearly])
    found = calibration_error(task, score(outputs, torch.tensor([0, 1, 0])))
    mean = (2 + torch.tensor(nearly).softmax(0)[0].item()) / 3
    assert found == pytest.approx(abs(2 / 3 - mean))


def test_a_number_has_no_calibration_error() -> None:
    slant = make_task("slant", "regression", torch.tensor([1.0, 2.0]))
    assert calibration_error(slant, score(torch.zeros(2, 1), torch.zeros(2))) is None
    assert calibration_error(slant, Score(None, {}, {}, None, 0)) is None
