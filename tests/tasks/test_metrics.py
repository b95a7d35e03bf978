"""Metrics against scikit-learn, through the same door as an evaluation: outputs in, the number out."""

import math

import pytest
import sklearn.metrics as oracle
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtl_cli.evaluation import Gathered, Score
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.options import KINDS, METRICS
from tests.options import make_task

ROWS = 60


def scored(task: Task, output: Tensor, target: Tensor, size: int = ROWS) -> Score:
    gathered = Gathered(task)
    for start in range(0, len(target), size):
        gathered.add(output[start : start + size], target[start : start + size])
    return gathered.score()


def data(kind: str, seed: int) -> tuple[Task, Tensor, Tensor, Tensor]:
    """A task, outputs, targets of which some are missing, and which are not."""
    generator = torch.Generator().manual_seed(seed)
    there = torch.rand(ROWS, generator=generator) < 0.7
    there[:2] = True
    if kind == "classification":
        target = torch.randint(0, 4, (ROWS,), generator=generator).masked_fill(~there, -100)
        return make_task("t", kind, target, tuple("abcd")), torch.randn(ROWS, 4, generator=generator), target, there
    if kind == "multilabel":
        tags = (torch.rand(ROWS, 4, generator=generator) < torch.tensor([0.6, 0.3, 0.1, 0.5])).float()
        tags[:2] = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
        target = tags.masked_fill(~there[:, None], torch.nan)
        return make_task("t", kind, target, tuple("abcd")), torch.randn(ROWS, 4, generator=generator), target, there
    output = torch.randn(ROWS, 1, generator=generator)
    if kind == "binary":
        target = torch.randint(0, 2, (ROWS,), generator=generator).float()
        target[:2] = torch.tensor([0.0, 1.0])
    else:
        target = 10 + 3 * torch.randn(ROWS, generator=generator)
    target = target.masked_fill(~there, torch.nan)
    return make_task("t", kind, target, ("no", "yes") if kind == "binary" else ()), output, target, there


def sklearns(kind: str, metric: str, task: Task, output: Tensor, target: Tensor) -> float:
    """The same number by scikit-learn, from labelled items."""
    if kind == "classification":
        guess = output.argmax(1)
        if metric == "accuracy":
            return oracle.accuracy_score(target, guess)
        return oracle.f1_score(target, guess, average="macro", zero_division=0)
    if kind == "binary":
        guess = output[:, 0] > 0
        if metric == "auroc":
            return oracle.roc_auc_score(target, output[:, 0])
        return {"accuracy": oracle.accuracy_score, "f1": oracle.f1_score}[metric](target.bool(), guess)
    if kind == "multilabel":
        return sklearns_of_tags(metric, output, target)
    number = output[:, 0].double() * task.fitted.std + task.fitted.mean
    errors = {"mae": oracle.mean_absolute_error, "rmse": oracle.root_mean_squared_error, "r2": oracle.r2_score}
    return errors[metric](target.double(), number)


def sklearns_of_tags(metric: str, output: Tensor, target: Tensor) -> float:
    if metric == "map":
        return oracle.average_precision_score(target, output, average="macro")
    if metric == "accuracy":
        return 1 - oracle.hamming_loss(target, output > 0)
    return oracle.f1_score(target, output > 0, average=metric.removeprefix("f1_"), zero_division=0)


@pytest.mark.parametrize("kind", list(KINDS))
@settings(max_examples=25)
@given(seed=st.integers(0, 999), size=st.integers(1, ROWS))
def test_metrics_are_scikit_learns_over_the_labelled_samples_at_any_batch_size(kind: str, seed: int, size: int) -> None:
    task, output, target, there = data(kind, seed)
    score = scored(task, output, target, size)
    assert score.labels == int(there.sum())
    assert list(score.metrics) == list(METRICS[kind])
    for metric, value in score.metrics.items():
        assert value == pytest.approx(sklearns(kind, metric, task, output[there], target[there]), abs=1e-6)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_auroc_has_no_value_where_only_one_class_is_labelled(label: float) -> None:
    task = make_task("t", "binary", torch.tensor([0.0, 1.0]), ("no", "yes"), primary="auroc")
    score = scored(task, torch.randn(5, 1), torch.tensor([label, torch.nan, label, label, torch.nan]))
    assert score.metrics["auroc"] is None
    assert score.constants["auroc"] is None
    assert score.skill is None
    assert score.metrics["accuracy"] is not None


TAGS = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [torch.nan, torch.nan, torch.nan], [0.0, 1.0, 0.0]])
SAID = torch.tensor([[2.0, 1.0, -1.0], [-1.0, 3.0, -2.0], [9.0, 9.0, 9.0], [1.0, 2.0, -3.0]])


def test_metrics_of_tags_by_hand() -> None:
    task = make_task("t", "multilabel", TAGS, ("a", "b", "c"))
    score = scored(task, SAID, TAGS)
    # a: said of rows 0 and 3, there in 0 and 1; b: said of all three, there in 1 and 3; c: never either
    assert score.metrics["accuracy"] == pytest.approx((1 + 2 + 3) / 9)
    assert score.metrics["f1_micro"] == pytest.approx(2 * 3 / (5 + 4))
    assert score.metrics["f1_macro"] == pytest.approx((2 * 1 / 4 + 2 * 2 / 5 + 0) / 3)
    # a is first of row 0, then of 3, then of 1: precision 1 and 2/3 at its two; b first of its two; c of none
    assert score.metrics["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert score.labels == 3


def test_average_precision_is_over_the_tags_that_occur_and_has_no_value_without_any(
    recwarn: pytest.WarningsRecorder,
) -> None:
    task = make_task("t", "multilabel", TAGS, ("a", "b", "c"), primary="map")
    assert scored(task, SAID, torch.zeros_like(TAGS)).metrics["map"] is None
    only_a = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert scored(task, SAID[:2], only_a).metrics["map"] == pytest.approx(1)
    assert not recwarn.list


def test_auroc_tells_apart_logits_that_are_all_nearly_certain() -> None:
    task = make_task("t", "binary", torch.tensor([0.0, 1.0]), ("no", "yes"))
    output = torch.tensor([[18.0], [20.0], [22.0], [30.0], [-30.0], [-200.0]])
    target = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    assert scored(task, output, target).metrics["auroc"] == pytest.approx(oracle.roc_auc_score(target, output[:, 0]))


def test_r2_has_no_value_where_all_labels_are_equal() -> None:
    task = make_task("t", "regression", torch.tensor([0.0, 1.0]))
    score = scored(task, torch.randn(3, 1), torch.tensor([4.0, 4.0, 4.0]))
    assert score.metrics["r2"] is None
    assert score.metrics["mae"] is not None


def test_an_error_is_reported_in_the_targets_own_unit() -> None:
    task = make_task("t", "regression", torch.tensor([100.0, 300.0, torch.nan]))  # mean 200, deviation 100
    score = scored(task, torch.tensor([[0.5], [-1.0]]), torch.tensor([260.0, 130.0]))
    assert score.metrics["mae"] == pytest.approx((10 + 30) / 2)
    assert score.metrics["rmse"] == pytest.approx(math.sqrt((100 + 900) / 2))
    assert score.loss == pytest.approx((0.1**2 + 0.3**2) / 2)  # the loss is of the standardised target


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_numbers_far_from_nought_lose_nothing_of_what_differs_among_them(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    target = (1e6 + torch.randn(1000, generator=generator, dtype=torch.float64)).float()
    task = make_task("t", "regression", target)
    noise = 0.5 * torch.randn(1000, generator=generator, dtype=torch.float64)
    number = target.double() + noise
    output = ((number - task.fitted.mean) / task.fitted.std).float()[:, None]
    score = scored(task, output, target, size)
    assert score.metrics["r2"] == pytest.approx(oracle.r2_score(target.double(), number), abs=1e-6)
    assert score.metrics["mae"] == pytest.approx(float(noise.abs().mean()), rel=1e-5)
    assert score.loss == pytest.approx(float((noise / task.fitted.std).square().mean()), rel=1e-5)


def test_standardised_targets_have_mean_nought_and_deviation_one_also_far_from_nought() -> None:
    generator = torch.Generator().manual_seed(1)
    target = (3e6 + 0.7 + 2 * torch.randn(4000, generator=generator, dtype=torch.float64)).float()
    task = make_task("t", "regression", target)
    squares = float(task.loss_sum(torch.zeros(4000, 1), target) / task.count(target))  # E z^2
    from_one = float(task.loss_sum(torch.ones(4000, 1), target) / task.count(target))  # E (1 - z)^2 = 1 + E z^2 - 2 E z
    assert squares == pytest.approx(1, rel=1e-5)
    assert (1 + squares - from_one) / 2 == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_a_shipped_model_says_is_what_metrics_look_at(kind: str) -> None:
    task, output, _, _ = data(kind, seed=3)
    seen, said = task.prediction(output), task.readout(output)
    if not task.fitted.classes:
        assert torch.allclose(said["value"].double(), seen.double(), rtol=1e-6)
        return
    assert torch.equal(said["logits"], output)
    if task.several:
        torch.testing.assert_close(said["probabilities"].double(), seen)
        return
    likely = seen if kind == "classification" else (seen > 0.5).long()
    assert torch.equal(said["probabilities"].argmax(1), likely)
    assert torch.allclose(said["probabilities"].sum(1), torch.ones(ROWS))
