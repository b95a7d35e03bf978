"""An image in a file, in any of the usual formats and sizes, as the bytes that a model is given."""

import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from mtl_cli.data.options import ImageFiles, Resize

BROKEN = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, zipfile.BadZipFile, zlib.error,
    NotImplementedError, Image.DecompressionBombError,
)  # fmt: skip
WIDE = 257
"""A step of 8 bits in 16: 65535 / 255."""
UPRIGHT = 1
ORIENTATION = 0x0112
"""EXIF's tag that says how the camera was held; 1: upright."""

Pixels = npt.NDArray[np.uint8]


class Decoding(NamedTuple):
    """How a file becomes bytes.

    size: height and width that it is brought to; None: it keeps its own. resize: in which way. colour: three channels,
    else one.
    """

    size: tuple[int, int] | None
    resize: Resize
    colour: bool


def decoding(option: ImageFiles) -> Decoding:
    """The one that a source's options ask for."""
    match option.size:
        case None:
            size = None
        case int(side):
            size = (side, side)
        case [height, width]:
            size = (height, width)
    return Decoding(size, option.resize, option.colour)


def pixels(file: Path | BytesIO, how: Decoding) -> Pixels:
    """One image; of one with several frames the first.

    Turned as its EXIF says; what is transparent is laid on white, 16 bits are rounded to 8.

    Shape: (C, H, W). Raises: one of BROKEN: it is damaged, cut short, or no image.
    """
    with Image.open(file) as opened:
        upright = opened.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT
        image = _plain(opened if upright else ImageOps.exif_transpose(opened), "RGB" if how.colour else "L")
        if how.size is not None and image.size != how.size[::-1]:
            image = RESIZES[how.resize](image, *how.size)
        found: Pixels = np.asarray(image)
    return found.transpose(2, 0, 1) if how.colour else found[None]


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """In `mode`, RGB or L."""
    if image.mode == mode:
        return image
    if image.mode == "F":
        raise ValueError("its pixels are fractions: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((wide + WIDE // 2) // WIDE).clip(0, 255).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    elif image.mode == "CMYK" and mode == "L":
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _stretch(image: Image.Image, height: int, width: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Covers the size, keeping its shape, and what reaches beyond is cut off alike at both sides."""
    across, down = image.size
    if across * height <= down * width:
        covering = _stretch(image, max(height, width * down // across), width)
    else:
        covering = _stretch(image, height, max(width, height * across // down))
    left, top = round((covering.width - width) / 2), round((covering.height - height) / 2)
    return covering.crop((left, top, left + width, top + height))


def _pad(image: Image.Image, height: int, width: int) -> Image.Image:
    """Fits into the size, keeping its shape, between black borders."""
    across, down = image.size
    scale = min(height / down, width / across)
    within = _stretch(image, max(1, min(height, round(down * scale))), max(1, min(width, round(across * scale))))
    whole = Image.new(image.mode, (width, height))
    whole.paste(within, ((width - within.width) // 2, (height - within.height) // 2))
    return whole


RESIZES = {"stretch": _stretch, "crop": _crop, "pad": _pad}
