"""Images of an archive, decoded in threads into one tensor."""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from mtl_cli.data.archive import Archive
from mtl_cli.options import ConfigError

CHUNK = 256
TINY = 8192
BROKEN = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, zipfile.BadZipFile, zlib.error,
    NotImplementedError, Image.DecompressionBombError,
)  # fmt: skip

Pixels = npt.NDArray[np.uint8]


def decode(content: Archive, name: str, *, size: int | None, colour: bool) -> Pixels:
    """One image. Shape: (C, H, W). Raises ConfigError that names a broken one."""
    square = None if size is None else (size, size)
    try:
        return pixels(BytesIO(content.read(name)), size=square, colour=colour)
    except BROKEN as error:
        raise ConfigError(f"{content.path}: {name} cannot be read as an image ({error})") from None


def pixels(file: Path | BytesIO, *, size: tuple[int, int] | None, colour: bool) -> Pixels:
    """One image, resized to height and width where it has others. Shape: (C, H, W). Raises: one of BROKEN."""
    mode = "RGB" if colour else "L"
    with Image.open(file) as opened:
        image = opened if opened.mode == mode else opened.convert(mode)
        if size is not None and image.size != size[::-1]:
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        found: Pixels = np.asarray(image)
    return found.transpose(2, 0, 1) if colour else found[None]


def decode_all(content: Archive, names: Sequence[str], *, size: int | None, colour: bool) -> Tensor:
    """Images of one size, in the order of `names`.

    Shapes: -> (N, C, H, W) uint8
    Raises: ConfigError: one is broken or, without `size`, of another size; names it, and both sizes.
    """
    first = decode(content, names[0], size=size, colour=colour)
    out = np.empty((len(names), *first.shape), dtype=np.uint8)

    def fill(start: int) -> None:
        for i in range(start, min(start + CHUNK, len(names))):
            pixels = decode(content, names[i], size=size, colour=colour)
            if pixels.shape != first.shape:
                raise ConfigError(_two_sizes(content, (names[0], first), (names[i], pixels)))
            out[i] = pixels

    with ThreadPoolExecutor(_threads(content.read(names[0]))) as pool:
        _drain(pool.map(fill, range(0, len(names), CHUNK)), pool)
    return torch.from_numpy(out)


def _threads(file: bytes) -> int:
    """One for tiny images: at 32x32 two threads take half as long again as one, handing Python's lock to and fro."""
    return min(16, os.cpu_count() or 1) if len(file) > TINY else 1


def _drain(results: Iterator[None], pool: ThreadPoolExecutor) -> None:
    """Waits for all; the first error ends the work at once."""
    try:
        for _ in results:
            pass
    except ConfigError:
        pool.shutdown(cancel_futures=True)
        raise


def _two_sizes(content: Archive, one: tuple[str, Pixels], other: tuple[str, Pixels]) -> str:
    (name, a), (second, b) = one, other
    return (
        f"{content.path}: images should be of one size, or have size= set to resize them. Found {second} of "
        f"{b.shape[2]}x{b.shape[1]} beside {name} of {a.shape[2]}x{a.shape[1]} pixels"
    )
