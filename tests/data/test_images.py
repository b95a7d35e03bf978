"""Formats, modes and sizes: one image as bytes, against torchvision, PIL and values by hand."""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from mtl_cli.data.images import BROKEN, Decoding, pixels

AS_IT_IS = Decoding(None, "stretch", colour=True)
GREY = Decoding(None, "stretch", colour=False)


def packed(image: Image.Image, kind: str = "png", **more: object) -> BytesIO:
    file = BytesIO()
    image.save(file, kind, **more)
    return BytesIO(file.getvalue())


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth enough for lossy formats."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("kind", "off"), [("png", 0), ("bmp", 0), ("tiff", 0), ("webp", 8), ("jpeg", 8), ("gif", 16)])
def test_every_format_gives_the_picture_that_was_saved(kind: str, off: int) -> None:
    picture = noise(24, 36)
    found = pixels(packed(Image.fromarray(picture), kind), AS_IT_IS)
    assert found.shape == (3, 24, 36)
    assert np.abs(found.transpose(1, 2, 0).astype(int) - picture).mean() <= off


def test_webp_without_loss_is_equal() -> None:
    picture = noise(8, 8)
    assert (
        pixels(packed(Image.fromarray(picture), "webp", lossless=True), AS_IT_IS).transpose(1, 2, 0) == picture
    ).all()


def test_grey_and_colour_are_made_of_each_other() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (pixels(packed(Image.fromarray(grey)), AS_IT_IS) == grey).all()
    assert (pixels(packed(Image.fromarray(grey)), GREY) == grey[None]).all()
    red = packed(Image.new("RGB", (2, 2), (255, 0, 0)))
    assert pixels(red, GREY).tolist() == [[[76, 76], [76, 76]]]  # ITU-R 601: .299 x 255


def test_a_palette_is_looked_up() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 1, 2, 3])
    image.putdata([1, 0])
    assert pixels(packed(image), AS_IT_IS)[:, 0].tolist() == [[1, 9], [2, 8], [3, 7]]


@pytest.mark.parametrize("how", [AS_IT_IS, GREY])
def test_what_is_transparent_is_white(how: Decoding) -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(10, 10, 10, 0), (10, 10, 10, 255), (0, 0, 0, 51)])
    assert pixels(packed(image), how)[0].tolist() == [[255, 10, 204]]
    clear = Image.new("P", (2, 1))
    clear.putpalette([9, 9, 9, 1, 1, 1])
    clear.putdata([0, 1])
    assert pixels(packed(clear, transparency=1), how)[0].tolist() == [[9, 255]]


def test_sixteen_bits_are_rounded_to_eight() -> None:
    wide = np.array([[0, 128, 129, 257, 65535, 32768]], dtype=np.uint16)
    assert pixels(packed(Image.fromarray(wide)), GREY)[0].tolist() == [[0, 0, 1, 1, 255, 128]]
    assert pixels(packed(Image.fromarray(wide), "tiff"), AS_IT_IS)[2].tolist() == [[0, 0, 1, 1, 255, 128]]


def test_inks_become_colours_and_one_bit_black_and_white() -> None:
    assert pixels(packed(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "tiff"), AS_IT_IS).ravel().tolist() == [0, 255, 255]
    assert pixels(packed(Image.new("CMYK", (1, 1), (0, 0, 0, 255)), "tiff"), GREY).ravel().tolist() == [0]
    assert pixels(packed(Image.new("1", (1, 1), 1)), GREY).ravel().tolist() == [255]


def test_fractions_are_refused_in_words() -> None:
    with pytest.raises(BROKEN, match="fractions: save it with 8 or 16 bits"):
        pixels(packed(Image.fromarray(np.zeros((2, 2), np.float32)), "tiff"), GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(orientation: int) -> None:
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    turns = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
             6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1)}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = packed(Image.fromarray(np.ascontiguousarray(turns[orientation])), exif=exif)
    assert pixels(file, GREY)[0].tolist() == upright.tolist()


def test_the_first_frame_of_several_counts() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    assert pixels(packed(frames[0], "gif", save_all=True, append_images=frames[1:]), GREY).ravel()[0] == 10


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24))
def test_crop_is_what_torchvision_resizes_and_crops(height: int, width: int, side: int) -> None:
    image = Image.fromarray(noise(height, width))
    found = pixels(packed(image), Decoding((side, side), "crop", colour=True))
    oracle = v2.CenterCrop(side)(v2.Resize(side)(image))
    assert (found.transpose(1, 2, 0) == np.asarray(oracle)).all()


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.integers(1, 24))
def test_stretch_is_what_torchvision_resizes(height: int, width: int, high: int, wide: int) -> None:
    image = Image.fromarray(noise(height, width))
    found = pixels(packed(image), Decoding((high, wide), "stretch", colour=True))
    assert (found.transpose(1, 2, 0) == np.asarray(v2.Resize((high, wide))(image))).all()


@settings(max_examples=100)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 24), st.integers(1, 24))
def test_crop_covers_and_pad_fits_any_size(height: int, width: int, high: int, wide: int) -> None:
    white = packed(Image.new("L", (width, height), 255))
    assert (pixels(white, Decoding((high, wide), "crop", colour=False)) == 255).all()
    white.seek(0)
    padded = pixels(white, Decoding((high, wide), "pad", colour=False))[0]
    rows, columns = (padded == 255).any(1), (padded == 255).any(0)
    assert padded.shape == (high, wide)
    assert (padded == np.outer(rows, columns) * 255).all()  # one rectangle, and black around it
    assert rows.all() or columns.all()
    scale = min(high / height, wide / width)
    assert abs(rows.sum() - max(1, scale * height)) <= 0.5
    assert abs(columns.sum() - max(1, scale * width)) <= 0.5
    for side in (rows, columns):
        assert abs(side.argmax() - side[::-1].argmax()) <= 1


def test_pad_by_hand() -> None:
    found = pixels(packed(Image.new("RGB", (4, 2), (9, 9, 9))), Decoding((4, 4), "pad", colour=True))
    assert found[0].tolist() == [[0] * 4, [9] * 4, [9] * 4, [0] * 4]


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "tiff", "gif"])
def test_a_file_that_is_cut_short_is_never_half_a_picture(kind: str, tmp_path: Path) -> None:
    whole = packed(Image.fromarray(noise(64, 64)), kind).getvalue()
    file = tmp_path / "cut"
    for share in (0.0, 0.1, 0.3, 0.6, 0.8):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BROKEN):
            pixels(file, AS_IT_IS)
