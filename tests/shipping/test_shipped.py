"""A shipped model takes plain images and answers in words of the task set."""

import pytest
import torch

from mtl_cli.data.augment import prepare
from mtl_cli.shipping.shipped import Normalise, unit_images
from tests.options import NAMES
from tests.shipping.models import PARTS, PREPARATIONS, SHAPE, live, shipped_of


def test_normalisation_is_in_raw_units_by_hand() -> None:
    normalise = Normalise(PREPARATIONS["train"], SHAPE)
    found = normalise(torch.tensor([0.0, 1.0, 0.5]).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    assert found[0, :, 0, 0].tolist() == pytest.approx([-120 / 60, (255 - 90) / 50, (127.5 - 60) / 40])


def test_vectors_are_scaled_as_they_are() -> None:
    normalise = Normalise(PREPARATIONS["eval"], (3,))
    assert normalise(torch.tensor([[10.0, 50.0, 0.0]])).tolist() == [[0.0, 1.0, -3.0]]


def test_outputs_are_named_after_their_tasks_in_order() -> None:
    shipped = shipped_of(live("hard"), NAMES[:3])
    assert list(shipped(torch.rand(2, *SHAPE))) == [
        f"{NAMES[0]}.logits",
        f"{NAMES[0]}.probabilities",
        f"{NAMES[1]}.logits",
        f"{NAMES[1]}.probabilities",
        f"{NAMES[2]}.value",
    ]


def test_one_image_goes_through_each_parts_normalisation_and_statistics() -> None:
    asked = live("hard")
    raw = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    answers = shipped_of(asked)(unit_images(raw))
    for name in NAMES:
        preparation = PREPARATIONS[PARTS[name]]
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preparation.mean, preparation.std))
        output = asked.model((raw.float() - mean) / std, [name], PARTS[name])[name]
        for what, expected in asked.tasks[name].readout(output).items():
            torch.testing.assert_close(answers[f"{name}.{what}"], expected)


def test_a_regression_answers_in_its_own_unit() -> None:
    asked = live("hard", kinds=["regression"])
    raw = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    task = asked.tasks[NAMES[0]]
    output = asked.model(prepare(raw, PREPARATIONS["train"]), NAMES[:1], "train")[NAMES[0]]
    values = shipped_of(asked)(unit_images(raw))[f"{NAMES[0]}.value"]
    torch.testing.assert_close(values.double(), task.prediction(output))
    torch.testing.assert_close(values, output[:, 0] * (20000 / 3) ** 0.5 + 1000)  # of 900, 1000, 1100
