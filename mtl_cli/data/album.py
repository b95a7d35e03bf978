"""Many images of an archive: decoded at once into one tensor, or left in their files."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from mtl_cli.data.archive import Archive
from mtl_cli.data.images import BROKEN, Decoding, Pixels, pixels
from mtl_cli.options import ConfigError

CHUNK = 256
TINY = 8192


@dataclass(frozen=True)
class Album:
    """Images of one size, in the order of `names`.

    content: where they lie. names: of the files. said: what messages call each. how: they are decoded.
    """

    content: Archive
    names: tuple[str, ...]
    said: tuple[str, ...]
    how: Decoding

    def __len__(self) -> int:
        return len(self.names)

    def at(self, index: Tensor) -> "Album":
        """Those at `index`, in that order."""
        rows = index.tolist()
        return Album(self.content, tuple(self.names[i] for i in rows), tuple(self.said[i] for i in rows), self.how)

    def decode(self, i: int, shape: tuple[int, ...] | None = None) -> Pixels:
        """One of them. Shape: (C, H, W). Raises: ConfigError: it is broken, or not of the shape that it should have."""
        try:
            found = pixels(BytesIO(self.content.read(self.names[i])), self.how)
        except BROKEN as error:
            reason = re.sub(r" <_io\.\w+ object at \w+>", "", " ".join(str(error).split()))
            raise ConfigError(f"{self.said[i]} cannot be read as an image ({reason})") from None
        if shape is not None and found.shape != shape:
            raise ConfigError(
                f"images should be of one size, or have size= set to bring them to one. Found {self.said[i]} of "
                f"{found.shape[2]}x{found.shape[1]} beside {self.said[0]} of {shape[2]}x{shape[1]} pixels"
            )
        return found

    def shape(self) -> tuple[int, ...]:
        """Of one, (C, H, W). Raises: ConfigError: there is no size, and the first one is broken."""
        return self.decode(0).shape if self.how.size is None else (3 if self.how.colour else 1, *self.how.size)

    def decode_all(self) -> Tensor:
        """All of them, by threads.

        Shapes: -> (N, C, H, W) uint8
        Raises: ConfigError: one is broken or, without a size, of another size than the first.
        """
        shape = self.shape()
        out = np.empty((len(self), *shape), dtype=np.uint8)

        def fill(start: int) -> None:
            for i in range(start, min(start + CHUNK, len(self))):
                out[i] = self.decode(i, shape)

        with ThreadPoolExecutor(_threads(self.content.read(self.names[0]))) as pool:
            _drain(pool.map(fill, range(0, len(self), CHUNK)), pool)
        return torch.from_numpy(out)

    def faults(self) -> list[str]:
        """What is wrong with each that is broken or, without a size, of another size than the first good one."""
        said: list[str] = []
        shape: tuple[int, ...] | None = None
        for i in range(len(self)):
            try:
                shape = self.decode(i, shape).shape
            except ConfigError as error:
                said.append(str(error))
        return said


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
