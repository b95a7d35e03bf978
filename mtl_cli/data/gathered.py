"""The images of an album, in memory and in the cache."""

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_cli.data.album import Album
from mtl_cli.data.base import Column, Place, Samples
from mtl_cli.data.cache import cached


class Gathered(NamedTuple):
    """Images (N, C, H, W), with a digest of their content."""

    inputs: Tensor
    digest: str


def gathered(album: Album, source: str, place: Place) -> Gathered:
    """All of them, decoded, from the cache where they were before. Raises: ConfigError: one is broken."""

    def build() -> tuple[Samples, Samples]:
        images = album.decode_all(place.thorough)
        return Samples(images, {}), Samples(images[:0], {})

    names = hashlib.sha256("\n".join(album.names).encode(errors="surrogateescape")).hexdigest()
    loaded = cached(place.cache_dir, source, (album.content.digest(), names, str(album.how)), build)
    assert isinstance(loaded.train.inputs, Tensor)
    return Gathered(loaded.train.inputs, loaded.digest)


def digest_of(images: str, columns: Mapping[str, Column], split: Mapping[str, Tensor]) -> str:
    """SHA-256 of a source's content: its images' digest, their labels, and which are train, val and test."""
    total = hashlib.sha256(images.encode())
    tensors = {**{name: column.values for name, column in columns.items()}, **split}
    for name, tensor in tensors.items():
        total.update(f"{name}/{tensor.dtype}/{list(tensor.shape)}/".encode())
        total.update(tensor.contiguous().view(torch.uint8).numpy().data)
    total.update(json.dumps({name: column.classes for name, column in columns.items()}).encode())
    return total.hexdigest()
