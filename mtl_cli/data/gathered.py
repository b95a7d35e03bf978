"""The images of an album, in memory and in the cache, or left in their files where they would take too much."""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_cli.data.album import Album
from mtl_cli.data.base import Column, Place, Samples, Stream
from mtl_cli.data.cache import cached
from mtl_cli.data.files import Files, surveyed
from mtl_cli.data.memory import GIB
from mtl_cli.options import ConfigError, DataError

LOG = logging.getLogger(__name__)


class Gathered(NamedTuple):
    """Images, (N, C, H, W) or left in files, with a digest of their content, which is the same either way."""

    inputs: Tensor | Stream
    digest: str


def gathered(album: Album, source: str, place: Place) -> Gathered:
    """All of them, decoded, from the cache where they were before; or a stream, after each was decoded once.

    Raises: ConfigError: one is broken, or of another size than the first; DataError, with all that are, if the place
        wants it thorough.
    """
    try:
        return _gathered(album, source, place)
    except ConfigError:
        faults = album.faults() if place.thorough else []
        if not faults:
            raise
    many = f"{len(faults):,} of {len(album):,} images cannot be read, or are of another size than the others"
    raise DataError(faults[0], many, faults, len(faults))


def _gathered(album: Album, source: str, place: Place) -> Gathered:
    names = hashlib.sha256("\n".join(album.names).encode(errors="surrogateescape")).hexdigest()
    words = (album.content.digest(), names, str(album.how))
    if place.memory is None:
        return _held(album, source, place, words)
    shape = album.shape()
    size = len(album) * math.prod(shape)
    said = f"{source}: {len(album):,} images of {'x'.join(map(str, shape))} take {size / GIB:.2g} GiB"
    if size <= place.memory:
        LOG.info("%s, in memory", said)
        return _held(album, source, place, words)
    LOG.info(
        "%s, data.memory leaves them %.2g: they stay in files, decoded ahead (data.workers=%d)",
        said, place.memory / GIB, place.workers,
    )  # fmt: skip
    return _left(album, source, place, words, shape)


def _held(album: Album, source: str, place: Place, words: tuple[str, ...]) -> Gathered:
    def build() -> tuple[Samples, Samples]:
        images = album.decode_all()
        return Samples(images, {}), Samples(images[:0], {})

    loaded = cached(place.cache_dir, source, words, build)
    assert isinstance(loaded.train.inputs, Tensor)
    return Gathered(loaded.train.inputs, loaded.digest)


def _left(album: Album, source: str, place: Place, words: tuple[str, ...], shape: tuple[int, ...]) -> Gathered:
    """What was seen of the images is kept in the cache."""

    def build() -> tuple[Samples, Samples]:
        sums, digest = surveyed(album, shape, place.workers)
        told = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)
        return Samples(sums, {"digest": Column(told, None)}), Samples(sums[:0], {"digest": Column(told[:0], None)})

    seen = cached(place.cache_dir, f"{source}-seen", words, build).train
    assert isinstance(seen.inputs, Tensor)
    digest = bytes(seen.columns["digest"].values.tolist()).hex()
    return Gathered(Files(album, shape, seen.inputs, place.workers), digest)


def digest_of(images: str, columns: Mapping[str, Column], split: Mapping[str, Tensor]) -> str:
    """SHA-256 of a source's content: its images' digest, their labels, and which are train, val and test."""
    total = hashlib.sha256(images.encode())
    tensors = {**{name: column.values for name, column in columns.items()}, **split}
    for name, tensor in tensors.items():
        total.update(f"{name}/{tensor.dtype}/{list(tensor.shape)}/".encode())
        total.update(tensor.contiguous().view(torch.uint8).numpy().data)
    total.update(json.dumps({name: column.classes for name, column in columns.items()}).encode())
    return total.hexdigest()
