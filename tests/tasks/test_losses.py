"""Losses: sums over the labels, whose ratio is torch's own mean, however the batch is cut."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mtl_cli.tasks.base import Loss
from mtl_cli.tasks.options import LOSSES
from tests.options import build, default

ROWS, CLASSES = 20, 4
WEIGHTS = {
    "classification": (0.5, 2.0, 1.0, 0.25),
    "binary": (0.5, 3.0),
    "multilabel": (0.5, 2.0, 1.0, 0.25),
}


class Items(NamedTuple):
    """Outputs (B, width) of a head and targets (B,), of tags (B, C)."""

    output: Tensor
    target: Tensor


def items(name: str, missing: bool, seed: int = 0) -> Items:
    """What a loss takes, by the kind of task that it fits."""
    kind = LOSSES.struct(name).fits[0]
    generator = torch.Generator().manual_seed(seed)
    width = CLASSES if kind in ("classification", "multilabel") else 1
    output = 2 * torch.randn(ROWS, width, generator=generator, dtype=torch.float64)
    target = {
        "classification": torch.randint(0, CLASSES, (ROWS,), generator=generator),
        "binary": torch.randint(0, 2, (ROWS,), generator=generator).double(),
        "regression": 2 * torch.randn(ROWS, generator=generator, dtype=torch.float64),
        "multilabel": torch.randint(0, 2, (ROWS, CLASSES), generator=generator).double(),
    }[kind]
    if missing:
        target[::3] = -100 if kind == "classification" else torch.nan
    return Items(output, target)


def two_logits(output: Tensor) -> Tensor:
    """The softmax of (0, z) is the sigmoid of z: torch's loss over classes is the oracle of one over yes and no."""
    return torch.cat([torch.zeros_like(output), output], 1)


def weights(name: str) -> Tensor:
    return torch.tensor(WEIGHTS[LOSSES.struct(name).fits[0]], dtype=torch.float64)


def tags_of_weight(output: Tensor, target: Tensor) -> Tensor:
    """Every answer, the yes of a tag as heavy as it is; the mean weight is divided out."""
    weight = torch.where(target == 1, weights("multilabel_bce"), 1.0)
    return functional.binary_cross_entropy_with_logits(output, target, weight) / weight.mean()


def cross_entropy(output: Tensor, target: Tensor, **options: object) -> Tensor:
    return functional.cross_entropy(output, target.long(), **options)


ORACLES: dict[str, tuple[str, dict[str, object], bool, Callable[[Tensor, Tensor], Tensor]]] = {
    "cross entropy": ("cross_entropy", {}, False, cross_entropy),
    "smoothed cross entropy": (
        "cross_entropy",
        {"label_smoothing": 0.3},
        False,
        lambda o, t: cross_entropy(o, t, label_smoothing=0.3),
    ),
    "weighted cross entropy": (
        "cross_entropy",
        {},
        True,
        lambda o, t: cross_entropy(o, t, weight=weights("cross_entropy")),
    ),
    "smoothed and weighted cross entropy": (
        "cross_entropy",
        {"label_smoothing": 0.3},
        True,
        lambda o, t: cross_entropy(o, t, weight=weights("cross_entropy"), label_smoothing=0.3),
    ),
    "bce": ("bce", {}, False, lambda o, t: functional.binary_cross_entropy_with_logits(o[:, 0], t)),
    "bce is the loss over two classes": ("bce", {}, False, lambda o, t: cross_entropy(two_logits(o), t)),
    "smoothed bce": (
        "bce",
        {"label_smoothing": 0.3},
        False,
        lambda o, t: cross_entropy(two_logits(o), t, label_smoothing=0.3),
    ),
    "weighted bce": ("bce", {}, True, lambda o, t: cross_entropy(two_logits(o), t, weight=weights("bce"))),
    "bce of tags": ("multilabel_bce", {}, False, functional.binary_cross_entropy_with_logits),
    "smoothed bce of tags": (
        "multilabel_bce",
        {"label_smoothing": 0.3},
        False,
        lambda o, t: functional.binary_cross_entropy_with_logits(o, 0.7 * t + 0.15),
    ),
    "weighted bce of tags": ("multilabel_bce", {}, True, tags_of_weight),
    "mse": ("mse", {}, False, lambda o, t: functional.mse_loss(o[:, 0], t)),
    "mae": ("mae", {}, False, lambda o, t: functional.l1_loss(o[:, 0], t)),
    "huber": ("huber", {}, False, lambda o, t: functional.huber_loss(o[:, 0], t)),
    "wide huber": ("huber", {"delta": 2.5}, False, lambda o, t: functional.huber_loss(o[:, 0], t, delta=2.5)),
    "narrow huber": ("huber", {"delta": 0.3}, False, lambda o, t: functional.huber_loss(o[:, 0], t, delta=0.3)),
}


def mean(loss: Loss, data: Items) -> Tensor:
    return loss(data.output, data.target) / loss.count(data.target)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("oracle", ORACLES)
def test_sum_over_count_is_torchs_mean_over_the_labels_in_value_and_gradient(oracle: str, missing: bool) -> None:
    name, changes, weighted, torchs = ORACLES[oracle]
    data = items(name, missing)
    there = data.target != -100 if data.target.dtype == torch.int64 else ~data.target.isnan()
    there = there if there.ndim == 1 else there[:, 0]
    loss = build(LOSSES, name, tuple(weights(name).tolist()) if weighted else (), **changes)
    output = data.output.requires_grad_()
    found, expected = mean(loss, data), torchs(output[there], data.target[there])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, output), torch.autograd.grad(expected, output))


def test_every_loss_of_the_table_has_an_oracle() -> None:
    assert {name for name, *_ in ORACLES.values()} == set(LOSSES)


def variants() -> list[tuple[str, tuple[float, ...]]]:
    """Each loss of the table, and with class weights where its option has such."""
    weighted = [name for name in LOSSES if "class_weights" in LOSSES.struct(name).__struct_fields__]
    return [(name, ()) for name in LOSSES] + [(name, tuple(weights(name).tolist())) for name in weighted]


@pytest.mark.parametrize(("name", "class_weights"), variants())
def test_a_missing_label_gives_no_gradient_and_counts_nothing(name: str, class_weights: tuple[float, ...]) -> None:
    loss = build(LOSSES, name, class_weights)
    data = items(name, missing=True)
    output = data.output.requires_grad_()
    gradient = torch.autograd.grad(loss(output, data.target), output)[0]
    missing = torch.arange(ROWS) % 3 == 0
    assert bool((gradient[missing] == 0).all())
    assert bool((gradient[~missing] != 0).all())
    assert float(loss.count(data.target[missing])) == 0
    assert float(loss(output.detach()[missing], data.target[missing])) == 0


@pytest.mark.parametrize(("name", "class_weights"), variants())
@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, ROWS), max_size=5), seed=st.integers(0, 9))
def test_sums_and_counts_of_micro_batches_add_up_to_those_of_the_batch(
    name: str, class_weights: tuple[float, ...], cuts: list[int], seed: int
) -> None:
    loss = build(LOSSES, name, class_weights)
    data = items(name, missing=True, seed=seed)
    edges = [0, *sorted(cuts), ROWS]
    pieces = [slice(a, b) for a, b in pairwise(edges)]
    total = torch.stack([loss(data.output[piece], data.target[piece]) for piece in pieces]).sum()
    count = torch.stack([loss.count(data.target[piece]).double() for piece in pieces]).sum()
    torch.testing.assert_close(total, loss(data.output, data.target))
    torch.testing.assert_close(count, loss.count(data.target).double())


def test_smoothed_and_weighted_bce_weighs_an_item_by_its_own_class() -> None:
    loss = build(LOSSES, "bce", (0.5, 3.0), label_smoothing=0.2)
    output, target = torch.tensor([[0.0], [1.0]]), torch.tensor([1.0, 0.0])
    log_yes, log_no = output[:, 0].sigmoid().log(), (-output[:, 0]).sigmoid().log()
    expected = 3.0 * -(0.9 * log_yes[0] + 0.1 * log_no[0]) + 0.5 * -(0.1 * log_yes[1] + 0.9 * log_no[1])
    torch.testing.assert_close(loss(output, target), expected)
    assert float(loss.count(target)) == 3.5


def test_bce_of_tags_by_hand() -> None:
    output = torch.tensor([[0.0, 1.0], [2.0, -1.0], [5.0, 5.0]])
    target = torch.tensor([[1.0, 0.0], [1.0, 1.0], [torch.nan, torch.nan]])
    log_yes, log_no = output.sigmoid().log(), (-output).sigmoid().log()
    plain = build(LOSSES, "multilabel_bce", ())
    total = -(log_yes[0, 0] + log_no[0, 1] + log_yes[1, 0] + log_yes[1, 1])
    torch.testing.assert_close(plain(output, target), total / 2)
    assert float(plain.count(target)) == 2  # rows with a label, however many tags there are
    weighted = build(LOSSES, "multilabel_bce", (3.0, 0.5))
    total = -(3 * log_yes[0, 0] + log_no[0, 1] + 3 * log_yes[1, 0] + 0.5 * log_yes[1, 1])
    torch.testing.assert_close(weighted(output, target), total / 2)
    assert float(weighted.count(target)) == 7.5 / 2


def test_the_loss_of_tags_is_of_one_scale_however_many_there_are() -> None:
    few, many = torch.full((5, 2), 0.7), torch.full((5, 200), 0.7)
    loss = build(LOSSES, "multilabel_bce", ())
    torch.testing.assert_close(loss(few, torch.ones_like(few)), loss(many, torch.ones_like(many)))


def test_only_the_squared_error_is_gaussian() -> None:
    assert [name for name in LOSSES if LOSSES.target(default(LOSSES, name)).gaussian] == ["mse"]
