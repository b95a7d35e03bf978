from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from mtl_cli.data.base import Loaded, Place
from mtl_cli.data.digits import DigitsSource, slant
from mtl_cli.data.options import Digits


def load(*, test: float = 0.2, seed: int = 0) -> Loaded:
    return DigitsSource(
        Digits(test=test, crop=0, flip=False), Place(Path(), Path(), seed, download=False, labels={})
    ).load()


def rows(*lines: str) -> torch.Tensor:
    return torch.tensor([[[[float(mark == "#") for mark in line] for line in lines]]])


@pytest.mark.parametrize(
    ("image", "degrees"),
    [
        (rows("..#", ".#.", "#.."), 45.0),
        (rows(".#.", ".#.", ".#."), 0.0),
        (rows("#..", ".#.", "..#"), -45.0),
        (rows("..#", "..#", "#..", "#.."), 38.65981),  # mu11 / mu02 = 4 / 5 by hand
        (rows("...", "###", "..."), 0.0),
        (rows("...", "...", "..."), 0.0),
    ],
)
def test_slant_is_the_lean_to_the_right_of_upright_in_degrees(image, degrees):
    assert slant(image).item() == pytest.approx(degrees, abs=1e-4)


def test_slant_does_not_depend_on_place_or_ink():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, [1, 2, 3], [4, 3, 3]] = 2.0
    assert slant(image.roll((3, 2), (2, 3)) * 5).item() == pytest.approx(slant(image).item(), abs=1e-5)


def test_mirrored_digits_lean_the_other_way():
    images = torch.from_numpy(load_digits().images)[:, None]
    assert torch.allclose(slant(images.flip(-1)), -slant(images), atol=1e-4)


def test_real_slants_are_small_and_sevens_lean_right_of_sixes():
    loaded = load()
    degrees, digit = loaded.train.columns["slant"].values, loaded.train.columns["digit"].values
    assert degrees.dtype == torch.float32
    assert degrees.abs().max() < 30
    assert 4 < degrees.std() < 12
    assert degrees[digit == 7].mean() > 4
    assert degrees[digit == 6].mean() < -4


def test_pixels_are_bytes_that_fill_their_range():
    loaded = load()
    assert loaded.train.inputs.dtype == torch.uint8
    assert loaded.train.inputs.shape[1:] == (1, 8, 8)
    assert loaded.train.inputs.unique().tolist() == [round(i * 255 / 16) for i in range(17)]


def test_labels_are_those_of_the_images():
    bunch = load_digits()
    known = {image.tobytes(): int(label) for image, label in zip(bunch.images, bunch.target, strict=True)}
    loaded = load()
    for image, label in zip(loaded.test.inputs, loaded.test.columns["digit"].values, strict=True):
        grey = (image[0].double() * 16 / 255).round().numpy()
        assert known[grey.tobytes()] == label
    assert loaded.test.columns["digit"].classes == tuple("0123456789")


def test_the_test_part_has_its_share_of_every_digit():
    loaded = load(test=0.2)
    assert len(loaded.test.inputs) == 359
    assert len(loaded.train.inputs) == 1797 - 359
    held, kept = (part.columns["digit"].values.bincount() for part in (loaded.test, loaded.train))
    assert ((held - (held + kept) * 359 / 1797).abs() < 1).all()


def test_the_datas_seed_chooses_the_test_part():
    assert load(seed=0).digest == load(seed=0).digest
    assert load(seed=0).digest != load(seed=1).digest


def test_a_share_of_zero_keeps_all_for_training():
    assert [len(part.inputs) for part in load(test=0.0)[:2]] == [1797, 0]
