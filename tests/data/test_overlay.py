from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_cli.data.base import Loaded, Place
from mtl_cli.data.options import Overlay
from mtl_cli.data.overlay import OverlaySource, nearest_pixels, other_class, overlay
from mtl_cli.options import ConfigError
from tests.data.idx import idx

DIGITS = np.array([3, 1, 4, 1, 5, 9, 2, 6] * 5)
GARMENTS = DIGITS[::-1].copy()
DEFAULTS = {
    "first": "MNIST", "second": "MNIST", "offset": 6, "size": None, "other_class": False, "crop": 0, "flip": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """Both sets, of 40 and 40 images: image i is filled with i + 1 (of test with i + 101), of Fashion with 50 more."""
    root = tmp_path_factory.mktemp("sets")
    for variant, labels, more in (("MNIST", DIGITS, 0), ("FashionMNIST", GARMENTS, 50)):
        raw = root / variant / "raw"
        raw.mkdir(parents=True)
        for part, start in (("train", 1), ("t10k", 101)):
            values = np.arange(len(labels)) + start + more
            idx(raw / f"{part}-images-idx3-ubyte", np.repeat(values, 784).reshape(-1, 28, 28))
            idx(raw / f"{part}-labels-idx1-ubyte", labels)
    return root


def load(sets: Path, cache: Path, seed: int = 0, **options) -> Loaded:
    return OverlaySource(Overlay(**{**DEFAULTS, **options}), Place(sets, cache, seed, download=False, labels={})).load()


def corner(loaded: Loaded, split: str = "train") -> list[int]:
    """The value that fills each right image: its last pixel lies under no left one."""
    samples = loaded.train if split == "train" else loaded.test
    return samples.inputs[:, 0, 33, 33].tolist()


@pytest.mark.parametrize("offset", [6, 8])
def test_the_second_image_lies_further_down_right_and_the_brighter_pixel_wins(offset):
    first, second = torch.zeros(2, 1, 1, 28, 28, dtype=torch.uint8)
    first[0, 0, 0, 0], first[0, 0, 27, 27], first[0, 0, 20, 21] = 9, 7, 100
    second[0, 0, 0, 0], second[0, 0, 27, 27] = 5, 8
    second[0, 0, 20 - offset, 21 - offset] = 99
    second[0, 0, 27 - offset, 27 - offset] = 200
    expected = torch.zeros(1, 1, 36, 36, dtype=torch.uint8)
    expected[0, 0, 0, 0], expected[0, 0, offset, offset] = 9, 5
    expected[0, 0, 20, 21], expected[0, 0, 27, 27] = 100, 200
    expected[0, 0, offset + 27, offset + 27] = 8
    assert torch.equal(overlay(first, second, offset), expected)


def test_resizing_picks_the_rows_that_pillow_picks():
    image = torch.arange(36 * 36).remainder(251).to(torch.uint8).view(1, 1, 36, 36)
    pillow = Image.fromarray(image[0, 0].numpy()).resize((28, 28), Image.Resampling.NEAREST)
    assert torch.equal(nearest_pixels(image, 28)[0, 0], torch.from_numpy(np.array(pillow)))
    rows = torch.arange(36, dtype=torch.uint8).view(1, 1, 36, 1).expand(1, 1, 36, 36)
    picked = nearest_pixels(rows, 28)[0, 0, :, 0].tolist()
    assert picked[:9] == [0, 1, 3, 4, 5, 7, 8, 9, 10]
    assert picked[-1] == 35


def test_every_first_image_is_once_on_the_left_with_its_label_and_the_right_label_is_of_the_drawn_image(sets, tmp_path):
    loaded = load(sets, tmp_path)
    assert loaded.train.inputs.shape == (40, 1, 36, 36)
    assert loaded.train.inputs.dtype == torch.uint8
    assert loaded.train.inputs[:, 0, 0, 0].tolist() == list(range(1, 41))
    assert loaded.test.inputs[:, 0, 0, 0].tolist() == list(range(101, 141))
    for samples, start in ((loaded.train, 1), (loaded.test, 101)):
        drawn = samples.inputs[:, 0, 33, 33].long() - start
        assert samples.columns["left"].values.tolist() == DIGITS.tolist()
        assert samples.columns["right"].values.tolist() == DIGITS[drawn].tolist()


def test_the_mix_has_digits_left_and_garments_right(sets, tmp_path):
    train = load(sets, tmp_path, second="FashionMNIST").train
    drawn = train.inputs[:, 0, 33, 33].long() - 51
    assert train.columns["left"].values.tolist() == DIGITS.tolist()
    assert train.columns["left"].classes[3] == "3 - three"
    assert train.columns["right"].values.tolist() == GARMENTS[drawn].tolist()
    assert train.columns["right"].classes[9] == "Ankle boot"


def test_a_size_resizes_the_canvas(sets, tmp_path):
    whole, small = load(sets, tmp_path), load(sets, tmp_path, size=28)
    assert torch.equal(small.train.inputs, nearest_pixels(whole.train.inputs, 28))
    assert torch.equal(small.train.columns["right"].values, whole.train.columns["right"].values)


def test_a_seed_decides_the_second_images_and_nothing_else(sets, tmp_path):
    one, again, other = load(sets, tmp_path / "a"), load(sets, tmp_path / "b"), load(sets, tmp_path / "a", seed=1)
    assert one.digest == again.digest
    assert corner(one) == corner(again)
    assert corner(one) != corner(other)
    assert torch.equal(one.train.columns["left"].values, other.train.columns["left"].values)


def test_test_is_drawn_from_test_and_not_like_train(sets, tmp_path):
    loaded = load(sets, tmp_path)
    train, test = corner(loaded), corner(loaded, "test")
    assert min(test) >= 101
    assert [value - 100 for value in test] != train


def test_another_class_is_never_the_first_ones_and_every_image_of_another_is_drawn(sets, tmp_path):
    loaded = load(sets, tmp_path, other_class=True)
    for samples in (loaded.train, loaded.test):
        assert not (samples.columns["left"].values == samples.columns["right"].values).any()
    left, others = torch.tensor([0, 1, 2]).repeat(3000), torch.tensor([2, 0, 1, 1, 0, 2, 2])
    index = other_class(left, others, torch.Generator().manual_seed(0))
    for label in range(3):
        counts = torch.bincount(index[left == label], minlength=7)
        allowed = others != label
        assert not counts[~allowed].any()
        expected = 3000 / allowed.sum()
        assert (counts[allowed] - expected).abs().max() < 5 * expected.sqrt()


@pytest.mark.parametrize(
    "change",
    [{"second": "FashionMNIST"}, {"offset": 8}, {"size": 28}, {"other_class": True}, {"seed": 1}, {}],
    ids=lambda change: next(iter(change), "the same"),
)
def test_the_cache_is_asked_under_all_that_decides_the_result(sets, tmp_path, change):
    load(sets, tmp_path)
    load(sets, tmp_path, **change)
    assert len(list(tmp_path.glob("overlay-*"))) == (2 if change else 1)


def test_a_changed_file_is_not_hidden_by_the_cache(sets, tmp_path):
    first = load(sets, tmp_path / "cache")
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (sets / "MNIST" / "raw").iterdir():
        (raw / file.name).write_bytes(file.read_bytes())
    idx(raw / "train-labels-idx1-ubyte", (DIGITS + 1) % 10)
    second = load(tmp_path / "data", tmp_path / "cache")
    assert second.digest != first.digest
    assert second.train.columns["left"].values.tolist() == ((DIGITS + 1) % 10).tolist()


def test_a_second_start_overlays_nothing(sets, tmp_path, monkeypatch):
    first = load(sets, tmp_path)
    monkeypatch.setattr("mtl_cli.data.overlay.overlay", lambda *_: pytest.fail("made again"))
    assert load(sets, tmp_path).digest == first.digest


def test_another_class_of_another_set_is_refused(sets, tmp_path):
    with pytest.raises(ConfigError, match=r"one set\. Found MNIST and FashionMNIST: set other_class=false"):
        load(sets, tmp_path, second="FashionMNIST", other_class=True)


def test_another_class_where_there_is_one_only_is_refused():
    with pytest.raises(ConfigError, match=r"two classes\. Found one"):
        other_class(torch.tensor([1, 1]), torch.tensor([1, 1, 1]), torch.Generator())


@pytest.mark.parametrize("missing", ["MNIST", "FashionMNIST"])
def test_a_missing_set_is_named_with_where_it_was_looked_for(sets, tmp_path, missing):
    found = {"MNIST", "FashionMNIST"} - {missing}
    for variant in found:
        (tmp_path / variant).symlink_to(sets / variant)
    with pytest.raises(ConfigError, match=f"no {missing} in {tmp_path}/{missing}/raw .*data.download=true"):
        load(tmp_path, tmp_path / "cache", second="FashionMNIST")
