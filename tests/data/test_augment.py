import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2.functional import normalize, resize

from mtl_cli.data.augment import BITS, _window, augmented, fit_preparation, hashed, prepare
from mtl_cli.data.base import Preparation
from mtl_cli.draws import seed_of

PLAIN = Preparation(mean=(0.0,), std=(1.0,), crop=0, flip=False)
FLIP = Preparation(mean=(0.0,), std=(1.0,), crop=0, flip=True)
CROP = Preparation(mean=(0.0,), std=(1.0,), crop=1, flip=False)
BOTH = Preparation(mean=(0.0, 0.0), std=(1.0, 1.0), crop=2, flip=True)
WORD = 2**64


def splitmix64(state: int) -> int:
    """The reference: one output of the published generator, in Python's own whole numbers."""
    z = (state + 0x9E3779B97F4A7C15) % WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
    return z ^ (z >> 31)


def draw(down: int, right: int, mirrored: int, offsets: int) -> int:
    """The smallest hash that stands for these offsets."""

    def low(offset: int) -> int:
        return -(-(offset << BITS) // offsets)

    return low(down) | low(right) << BITS | mirrored << 2 * BITS


def test_the_hash_gives_the_published_outputs_of_splitmix64():
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    got = hashed(np.arange(5), 1234567)
    assert got.tolist() == [value % 2**63 for value in published]


@given(st.integers(0, 2**40), st.integers(0, 2**63 - 1))
def test_the_hash_agrees_with_its_twin_in_whole_numbers(index, seed):
    state = (seed + index * 0x9E3779B97F4A7C15) % WORD
    assert hashed(np.array([index]), seed).item() == splitmix64(state) % 2**63


@pytest.mark.parametrize(
    ("down", "right", "mirrored", "expected"),
    [
        (1, 1, 0, [[1, 2], [3, 4]]),
        (0, 0, 0, [[0, 0], [0, 1]]),
        (0, 1, 0, [[0, 0], [1, 2]]),
        (1, 0, 0, [[0, 1], [0, 3]]),
        (2, 2, 0, [[4, 0], [0, 0]]),
        (1, 1, 1, [[2, 1], [4, 3]]),
        (0, 0, 1, [[0, 0], [1, 0]]),
    ],
)
def test_crop_and_flip_by_hand(down, right, mirrored, expected):
    raw = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    preparation = Preparation(mean=(0.0,), std=(1.0,), crop=1, flip=True)
    draws = np.array([draw(down, right, mirrored, 3)], dtype=np.uint64)
    assert _window(raw, preparation, draws)[0, 0].tolist() == expected


def test_the_border_is_black_before_it_is_scaled():
    raw = torch.full((200, 1, 2, 2), 30, dtype=torch.uint8)
    out = augmented(raw, Preparation(mean=(20.0,), std=(5.0,), crop=1, flip=False), np.arange(200), 0, 0)
    assert sorted(out.unique().tolist()) == [-4.0, 2.0]


@settings(max_examples=50)
@given(st.integers(0, 9), st.integers(0, 3), st.integers(1, 6))
def test_each_sample_is_what_a_plain_loop_makes_of_it(seed, epoch, batch):
    raw = torch.arange(batch * 2 * 3 * 4).view(batch, 2, 3, 4).remainder(251).to(torch.uint8)
    index = np.arange(batch) * 7 + 1
    got = augmented(raw, BOTH, index, seed, epoch)
    for i in range(batch):
        state = (seed_of(seed, "augment", epoch) + int(index[i]) * 0x9E3779B97F4A7C15) % WORD
        bits = splitmix64(state)
        down, right = bits % 2**BITS * 5 >> BITS, (bits >> BITS) % 2**BITS * 5 >> BITS
        image = np.pad(raw[i].numpy(), ((0, 0), (2, 2), (2, 2)))[:, down : down + 3, right : right + 4]
        image = image[:, :, ::-1] if bits >> 2 * BITS & 1 else image
        assert got[i].tolist() == image.astype(float).tolist()


@settings(max_examples=30)
@given(st.permutations(list(range(12))), st.integers(1, 12))
def test_a_samples_draws_depend_on_no_other_sample_in_its_batch(order, size):
    raw = torch.randint(0, 256, (12, 2, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = augmented(raw, BOTH, np.arange(12), 3, 5)
    for i in range(0, 12, size):
        index = np.array(order[i : i + size])
        assert torch.equal(augmented(raw[index], BOTH, index, 3, 5), whole[index])


def test_seed_and_epoch_and_index_each_change_the_draws():
    raw = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).repeat(64, 1, 1, 1)
    index = np.arange(64)
    one = augmented(raw, CROP, index, 0, 0)
    assert not torch.equal(augmented(raw, CROP, index, 1, 0), one)
    assert not torch.equal(augmented(raw, CROP, index, 0, 1), one)
    assert len(one.flatten(1).unique(dim=0)) == 9


def test_offsets_are_even_and_half_of_all_images_are_flipped():
    raw = torch.tensor([[[[1, 2]]]], dtype=torch.uint8).repeat(20_000, 1, 1, 1)
    flipped = augmented(raw, FLIP, np.arange(20_000), 0, 0)[:, 0, 0, 0] == 2
    assert abs(flipped.float().mean().item() - 0.5) < 0.02
    point = torch.tensor([[[[9]]]], dtype=torch.uint8).repeat(18_000, 1, 1, 1)
    kept = augmented(point, CROP, np.arange(18_000), 0, 0).flatten() == 9
    assert abs(kept.float().mean().item() - 1 / 9) < 0.01


def test_without_crop_and_flip_training_sees_what_evaluation_sees():
    raw = torch.arange(24, dtype=torch.uint8).view(2, 1, 3, 4)
    assert torch.equal(augmented(raw, PLAIN, np.arange(2), 0, 0), prepare(raw, PLAIN))


def test_evaluation_subtracts_the_mean_and_divides_by_the_deviation_of_each_channel():
    raw = torch.tensor([[[[10]], [[200]]]], dtype=torch.uint8)
    out = prepare(raw, Preparation(mean=(20.0, 100.0), std=(5.0, 50.0), crop=4, flip=True))
    assert out.flatten().tolist() == [-2.0, 2.0]
    assert out.dtype == torch.float32


def test_preparing_vectors_leaves_the_raw_ones_alone():
    raw = torch.tensor([[1.0, 2.0]])
    out = prepare(raw, Preparation(mean=(1.0, 0.0), std=(2.0, 4.0), crop=0, flip=False))
    assert out.tolist() == [[0.0, 0.5]]
    assert raw.tolist() == [[1.0, 2.0]]


def test_statistics_are_those_of_each_channel_in_raw_units():
    inputs = torch.tensor([[[[0, 4]], [[7, 7]]], [[[8, 4]], [[7, 7]]]], dtype=torch.uint8)
    fitted = fit_preparation(inputs, 4, True)
    assert fitted.mean == (4.0, 7.0)
    assert fitted.std == (8**0.5, 1.0)
    assert (fitted.crop, fitted.flip) == (4, True)


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 5))
def test_statistics_agree_with_numpys(n, channels, seed):
    inputs = torch.randint(
        0, 256, (n, channels, 3, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    fitted = fit_preparation(inputs, 0, False)
    values = inputs.numpy().astype(np.float64)
    assert fitted.mean == pytest.approx(values.mean((0, 2, 3)))
    assert fitted.std == pytest.approx(values.std((0, 2, 3)))


def test_statistics_of_vectors_hold_far_from_zero():
    inputs = torch.tensor([[4096.0, 3.0], [4098.0, 3.0]]).repeat(50_000, 1)
    fitted = fit_preparation(inputs, 0, False)
    assert fitted.mean == (4097.0, 3.0)
    assert fitted.std == (1.0, 1.0)


def test_vectors_cannot_be_cropped_and_an_empty_set_has_no_statistics():
    with pytest.raises(ValueError, match=r"crop and flip are for images.*\(2, 3\)"):
        fit_preparation(torch.zeros(2, 3), 1, False)
    with pytest.raises(ValueError, match="at least one sample"):
        fit_preparation(torch.zeros(0, 3), 0, False)


@pytest.mark.parametrize("size", [(7, 9), (20, 31), (40, 12)])
def test_resizing_is_torchvisions_with_antialiasing_then_scaled(size: tuple[int, int]) -> None:
    raw = torch.randint(0, 256, (3, 3, 20, 31), dtype=torch.uint8)
    mean, std = (10.0, 20.0, 30.0), (2.0, 3.0, 4.0)
    out = prepare(raw, Preparation(mean=mean, std=std, crop=0, flip=False, size=size))
    resized = resize(raw.float(), list(size), antialias=True)
    torch.testing.assert_close(out, normalize(resized, list(mean), list(std)))


def test_a_resized_image_is_cropped_and_flipped_before() -> None:
    raw = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    small, large = (Preparation(mean=(3.0,), std=(2.0,), crop=2, flip=True, size=size) for size in (None, (16, 12)))
    window = (augmented(raw, small, np.arange(6), 1, 2) * 2 + 3).to(torch.uint8)
    assert torch.equal(augmented(raw, large, np.arange(6), 1, 2), prepare(window, large))


def test_one_channel_with_three_means_becomes_three_scaled_copies() -> None:
    raw = torch.randint(0, 256, (2, 1, 4, 5), dtype=torch.uint8)
    three = Preparation(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), crop=0, flip=False)
    for size in (None, (8, 10)):
        preparation = Preparation(mean=three.mean, std=three.std, crop=0, flip=False, size=size)
        out = prepare(raw, preparation)
        assert torch.equal(out, prepare(raw.repeat(1, 3, 1, 1), preparation))
        assert tuple(out.shape[1:]) == preparation.shape((1, 4, 5))


def test_a_preparation_tells_the_shape_of_what_it_prepares() -> None:
    plain = Preparation(mean=(0.0,), std=(1.0,), crop=2, flip=True)
    assert plain.shape((1, 4, 5)) == (1, 4, 5)
    assert Preparation(mean=(0.0,) * 7, std=(1.0,) * 7, crop=0, flip=False).shape((7,)) == (7,)
