"""What is read off the training targets: class weights, mean and deviation, and the constants that do best."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtl_cli.options import ConfigError
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.options import KINDS, LOSSES, METRICS
from tests.options import default, make_task, task_option

CLASSES = ("a", "b", "c")
MISSING = {"classification": torch.full((4,), -100), "multilabel": torch.full((4, 2), torch.nan)}


def weighted(kind: str, name: str, target: Tensor, given_weights: object) -> Task:
    loss = default(LOSSES, name, class_weights=given_weights)
    return make_task("t", kind, target, CLASSES if kind == "classification" else ("no", "yes"), loss=loss)


def test_balanced_class_weights_by_hand() -> None:
    target = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2, -100, -100])
    task = weighted("classification", "cross_entropy", target, "balanced")
    assert task.fitted.class_weights == pytest.approx((9 / (3 * 6), 9 / (3 * 2), 9 / (3 * 1)))
    assert float(task.count(target)) == pytest.approx(9)  # balanced: every class counts as much, together as before


def test_balanced_weights_of_yes_and_no_by_hand() -> None:
    target = torch.tensor([1.0, 0.0, 0.0, 0.0, torch.nan])
    assert weighted("binary", "bce", target, "balanced").fitted.class_weights == pytest.approx((4 / 6, 2.0))


def test_balanced_weights_of_tags_by_hand() -> None:
    target = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0], [torch.nan, torch.nan]])
    task = make_task(
        "t", "multilabel", target, ("a", "b"), loss=default(LOSSES, "multilabel_bce", class_weights="balanced")
    )
    assert task.fitted.class_weights == pytest.approx((3 / 1, 1 / 3))


@pytest.mark.parametrize(
    ("given_weights", "words"),
    [
        ([1.0], ["tasks.t.loss.class_weights=[1.0]", "one weight a tag", "1 for 2"]),
        ("balanced", ["tasks.t.loss.class_weights=balanced", "with and without every tag", "[2, 1] of 2 items"]),
    ],
)
def test_weights_of_tags_that_do_not_fit_are_named(given_weights: object, words: list[str]) -> None:
    loss = default(LOSSES, "multilabel_bce", class_weights=given_weights)
    with pytest.raises(ConfigError) as error:
        make_task("t", "multilabel", torch.tensor([[1.0, 1.0], [1.0, 0.0]]), ("a", "b"), loss=loss)
    for word in words:
        assert word in str(error.value)


def test_given_class_weights_are_taken_as_they_are() -> None:
    task = weighted("classification", "cross_entropy", torch.tensor([0, 1, 2]), [1, 2.5, 3])
    assert task.fitted.class_weights == (1.0, 2.5, 3.0)
    assert weighted("classification", "cross_entropy", torch.tensor([0]), None).fitted.class_weights == ()


@pytest.mark.parametrize(
    ("given_weights", "words"),
    [
        ([1.0, 2.0], ["tasks.t.loss.class_weights=[1.0, 2.0]", "2 for 3"]),
        ("balanced", ["tasks.t.loss.class_weights=balanced", "every class in train", "[2, 1, 0]"]),
    ],
)
def test_class_weights_that_do_not_fit_are_named(given_weights: object, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        weighted("classification", "cross_entropy", torch.tensor([0, 0, 1]), given_weights)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_task_without_a_label_in_train_is_named_with_the_ways_out(kind: str) -> None:
    target = MISSING.get(kind, torch.full((4,), torch.nan))
    with pytest.raises(ConfigError, match=r"tasks.t has no label in train: .*~tasks.t"):
        make_task("t", kind, target, ("a", "b"))


def test_a_single_class_is_refused_where_it_could_not_be_measured() -> None:
    with pytest.raises(ConfigError, match=r"tasks.t.target should have two classes or more. Found only cat"):
        make_task("t", "classification", torch.tensor([0, 0]), ("cat",))


def measured(task: Task, metric: str, output: Tensor, target: Tensor) -> float:
    """A metric of one output for all."""
    found = task.metric(metric)
    found.update(task.prediction(output.expand(len(target), -1)), task.metric_target(target))
    return float(found.compute())


def candidates(task: Task, kind: str, target: Tensor) -> list[Tensor]:
    """Every constant answer that can make a difference."""
    if kind == "classification":
        return list(torch.eye(len(task.fitted.classes)))
    if kind == "binary":
        return [torch.tensor([-1.0]), torch.tensor([1.0])]
    if kind == "multilabel":
        return [torch.tensor(signs) for signs in product([-1.0, 1.0], repeat=len(CLASSES))]
    values = torch.cat([target.double(), torch.linspace(float(target.min()), float(target.max()), 21).double()])
    return [((v - task.fitted.mean) / task.fitted.std)[None].float() for v in values]


@pytest.mark.parametrize(("kind", "metric"), [(kind, metric) for kind in METRICS for metric in METRICS[kind]])
@settings(max_examples=25)
@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_no_constant_does_better_on_train_than_the_one_that_is_kept(kind: str, metric: str, labels: list[int]) -> None:
    target = {
        "classification": torch.tensor(labels),
        "binary": (torch.tensor(labels) > 0).float(),
        "regression": torch.tensor(labels).float() ** 3 - 5,
        "multilabel": torch.tensor(
            [[label > 0, label == 2, (i + label) % 2] for i, label in enumerate(labels)]
        ).float(),
    }[kind]
    primary = {"metrics": [metric], "primary": metric}
    classes = {"binary": ("no", "yes"), "regression": ()}.get(kind, CLASSES)
    task = make_task("t", kind, target, classes, **primary)
    if not task.defined(metric, target):
        return
    sign = 1 if METRICS[kind][metric].best == "max" else -1
    kept = measured(task, metric, torch.tensor(task.fitted.constants[metric]), target)
    best = max(sign * measured(task, metric, constant, target) for constant in candidates(task, kind, target))
    assert sign * kept >= best - 1e-6


@pytest.mark.parametrize(("kind", "metric"), [(kind, metric) for kind in METRICS for metric in METRICS[kind]])
def test_skill_is_one_at_best_nought_for_the_constant_and_linear_between(kind: str, metric: str) -> None:
    target = {
        "classification": torch.tensor([0, 1, 1]),
        "binary": torch.tensor([0.0, 1.0, 1.0]),
        "multilabel": torch.tensor([[0.0, 1.0], [1.0, 1.0]]),
    }
    classes = ("a", "b") if kind != "regression" else ()
    task = make_task("t", kind, target.get(kind, torch.tensor([0.0, 1.0, 5.0])), classes)
    facts = METRICS[kind][metric]
    if facts.skill:
        assert task.skill(metric, -3.5, 0.0) == -3.5
        return
    best, constant = (1.0, 0.25) if facts.bounded else (0.0, 8.0)
    assert task.skill(metric, best, constant) == 1
    assert task.skill(metric, constant, constant) == 0
    assert task.skill(metric, (best + constant) / 2, constant) == pytest.approx(0.5)
    assert task.skill(metric, constant + (constant - best), constant) == pytest.approx(-1)


def test_where_the_constant_is_perfect_only_perfection_is_a_skill() -> None:
    task = make_task("t", "classification", torch.tensor([0, 1]), ("a", "b"))
    assert task.skill("accuracy", 1.0, 1.0) == 1
    assert task.skill("accuracy", 0.9, 1.0) == 0


@pytest.mark.parametrize(("kind", "primary", "sign"), [("binary", "f1", 1), ("regression", "mae", -1)])
def test_the_primary_metric_is_signed_so_that_higher_is_better(kind: str, primary: str, sign: int) -> None:
    task = make_task("t", kind, torch.tensor([0.0, 1.0]), ("no", "yes"), primary=primary)
    assert task.signed(0.25) == sign * 0.25


def test_the_defaults_of_a_kind_measure_all_that_it_knows() -> None:
    for kind in KINDS:
        assert task_option(kind).metrics == list(METRICS[kind])
