"""Images that stay in their files: looked at once before the run, then decoded whenever they are asked for."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from mtl_cli.data.ahead import Rows, ahead
from mtl_cli.data.album import Album
from mtl_cli.data.base import Moments, Stream
from mtl_cli.options import ConfigError, JobError

PIECE = 64
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Files(Stream):
    """An album's images.

    sums: of each image's values and of their squares, by channel, (N, 2, C) int64.
    """

    album: Album
    shape: tuple[int, ...]
    sums: Tensor
    workers: int

    def __len__(self) -> int:
        return len(self.album)

    def __getitem__(self, index: Tensor) -> "Files":
        return Files(self.album.at(index), self.shape, self.sums[index], self.workers)

    def read(self, index: Tensor) -> Tensor:
        """By threads; in a process that decodes, by itself."""
        rows = index.tolist()
        out = np.empty((len(rows), *self.shape), dtype=np.uint8)

        def fill(k: int) -> None:
            out[k] = self.album.decode(rows[k], self.shape)

        try:
            if get_worker_info() is None:
                with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
                    list(pool.map(fill, range(len(rows))))
            else:
                for k in range(len(rows)):
                    fill(k)
        except ConfigError as error:
            raise JobError(str(error)) from None
        return torch.from_numpy(out)

    def moments(self) -> Moments:
        """Exact, from the sums of whole numbers."""
        values, squares = self.sums.sum(0).tolist()
        return Moments(len(self) * self.shape[1] * self.shape[2], tuple(values), tuple(squares))


def surveyed(album: Album, shape: tuple[int, ...], workers: int) -> tuple[Tensor, str]:
    """Decodes every image once, by processes: sums as `Files` has them, and a digest as if all were in memory.

    Raises: ConfigError: one is broken, or of another size than the first.
    """
    blind = Files(album, shape, torch.zeros(len(album), 2, shape[0], dtype=torch.long), workers)
    total = hashlib.sha256(f"train/inputs/{torch.uint8}/{[len(album), *shape]}/".encode())
    sums = []
    try:
        for images in ahead(blind, _pieces(len(album)), CPU):
            total.update(images.numpy().data)
            flat = images.flatten(2)
            sums.append(torch.stack([flat.sum(2), flat.to(torch.int32).square().sum(2)], dim=1))
    except JobError as error:
        raise ConfigError(str(error)) from None
    total.update(f"test/inputs/{torch.uint8}/{[0, *shape]}/{{}}".encode())
    return torch.cat(sums), total.hexdigest()


def _pieces(count: int) -> Iterator[Rows]:
    for start in range(0, count, PIECE):
        yield np.arange(start, min(start + PIECE, count))
