"""A file is good if it answers as the live model does."""

import math

import pytest
import torch

from mtl_cli.options import JobError
from mtl_cli.shipping.verify import BATCHES, compare, judge
from tests.options import NAMES
from tests.shipping.models import live, shipped_of


def test_a_faithful_file_has_errors_of_rounding_at_each_batch_and_output() -> None:
    asked = live("cross_stitch")
    shipped = shipped_of(asked, NAMES[:2])
    errors = compare(asked, shipped, shipped)
    assert list(errors) == [f"{task}.{what}" for task in NAMES[:2] for what in ("logits", "probabilities")]
    assert all(list(by_rows) == [str(rows) for rows in BATCHES] for by_rows in errors.values())
    judge(errors, 1e-5)


@pytest.mark.parametrize(
    "spoil", [lambda value: value * math.nan, lambda value: value[:, None], lambda value: value[:1].expand(3)]
)
def test_what_cannot_be_compared_is_an_error(spoil) -> None:
    asked = live("hard", kinds=["regression"])
    shipped = shipped_of(asked, NAMES[:1])
    errors = compare(asked, shipped, lambda inputs: {name: spoil(t) for name, t in shipped(inputs).items()})
    assert max(errors[f"{NAMES[0]}.value"].values()) == math.inf
    with pytest.raises(JobError, match=rf"{NAMES[0]}.value differs"):
        judge(errors, 1e-5)


def test_large_numbers_are_compared_by_the_largest_of_them() -> None:
    asked = live("hard", kinds=["regression"])
    shipped = shipped_of(asked, NAMES[:1])
    errors = compare(asked, shipped, lambda inputs: {name: 1.01 * t for name, t in shipped(inputs).items()})
    assert errors[f"{NAMES[0]}.value"]["7"] == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(JobError, match=rf"{NAMES[0]}.value differs from the model's by 1.0e-02"):
        judge(errors, 1e-5)


def test_an_output_that_is_missing_is_an_error() -> None:
    asked = live("hard")
    shipped = shipped_of(asked, NAMES[:1])
    errors = compare(asked, shipped, lambda inputs: {f"{NAMES[0]}.logits": shipped(inputs)[f"{NAMES[0]}.logits"]})
    assert set(errors[f"{NAMES[0]}.probabilities"].values()) == {math.inf}


def test_small_numbers_are_compared_as_they_are() -> None:
    asked = live("hard", kinds=["classification"])
    shipped = shipped_of(asked, NAMES[:1])
    name = f"{NAMES[0]}.probabilities"
    errors = compare(asked, shipped, lambda inputs: {**shipped(inputs), name: shipped(inputs)[name] + 2e-5})
    assert errors[name]["7"] == pytest.approx(2e-5, rel=0.1)
    assert torch.isfinite(torch.tensor(list(errors[name].values()))).all()
