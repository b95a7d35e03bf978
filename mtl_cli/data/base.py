"""What a batch is, and what every source of data gives.

A missing label is MISSING in an integer target and NaN in a float one.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import torch
from msgspec import Struct
from torch import Tensor

MISSING = -100


def labelled(target: Tensor) -> Tensor:
    """Which entries of a target have a label.

    Shapes: target (B,) -> (B,) bool
    """
    return ~torch.isnan(target) if target.is_floating_point() else target != MISSING


class Column(NamedTuple):
    """One column of a data set: values (N,), int64 indices into `classes` where there are such, else float32."""

    values: Tensor
    classes: tuple[str, ...] | None


class Samples(NamedTuple):
    """Inputs with the columns that targets are made from: images (N, C, H, W) uint8, or vectors (N, D) float32."""

    inputs: Tensor
    columns: dict[str, Column]


class Loaded(NamedTuple):
    """What a source gives: its official train and test, and a digest of the content of both."""

    train: Samples
    test: Samples
    digest: str


class Place(NamedTuple):
    """Where a source looks and keeps things, and what decides its synthesis."""

    data_dir: Path
    cache_dir: Path
    seed: int
    download: bool


class Source(ABC):
    """One kind of data; built from its options and a place."""

    @abstractmethod
    def load(self) -> Loaded:
        """Reads everything, from the cache where it was read before.

        Raises: ConfigError: nothing was found; one line: where it looked and the ways to provide it.
        """


class PartData(NamedTuple):
    """One part of a split: inputs (N, ...) and each task's targets (N,)."""

    inputs: Tensor
    targets: dict[str, Tensor]


Split = dict[str, PartData]


class Preparation(Struct, frozen=True):
    """How a part's raw inputs become the model's: augmented, resized, and scaled by mean and deviation.

    `mean` and `std` have one entry a channel (or a column) of the model's input, in raw units; images of one channel
    are repeated where they have several. `crop` and `flip` only in training. `size`: height and width that images are
    resized to, after these; None: they stay as they are.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: int
    flip: bool
    size: tuple[int, int] | None = None

    def shape(self, raw: tuple[int, ...]) -> tuple[int, ...]:
        """Of a prepared sample, given that of a raw one."""
        if len(raw) == 1:
            return raw
        return (max(raw[0], len(self.mean)), *(self.size or raw[1:]))


class Part(NamedTuple):
    """One forward pass: inputs (B, ...), targets (B,) by task, and how many labels each task has in them.

    `labelled` is counted on the host, so that no one waits for the device to know which tasks are active.
    """

    name: str
    inputs: Tensor
    targets: dict[str, Tensor]
    labelled: dict[str, int]


class Batch(NamedTuple):
    """What one step sees: tasks that share their input are one part."""

    parts: list[Part]
