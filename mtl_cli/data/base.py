"""What a batch is, and what every source of data gives.

A missing label is MISSING in an integer target and NaN in a float one.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Self

import torch
from msgspec import Struct
from torch import Tensor

from mtl_cli.data.table.code import Encoding
from mtl_cli.processes import Portion

MISSING = -100
Reads = Literal["classes", "numbers"]
"""What a task takes a column for."""


def labelled(target: Tensor) -> Tensor:
    """Which rows of a target have a label; of several numbers a row, all must be there.

    Shapes: target (B,) or (B, C) -> (B,) bool
    """
    there = ~torch.isnan(target) if target.is_floating_point() else target != MISSING
    return there if there.ndim < 2 else there.all(1)


class Column(NamedTuple):
    """One column of a data set: values (N,), int64 indices into `classes` where there are such, else float32."""

    values: Tensor
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class Frame:
    """Rows of a table as read, before anything was read off train.

    numbers, dates: (N,) float64, dates in days since 1970; NaN where a cell is empty. categories: columns of words.
    """

    numbers: dict[str, Tensor]
    dates: dict[str, Tensor]
    categories: dict[str, Column]
    rows: int

    def __len__(self) -> int:
        return self.rows

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, numbers first, then dates and categories."""
        return (*self.numbers, *self.dates, *self.categories)

    def __getitem__(self, index: Tensor) -> "Frame":
        """The rows at `index`, in that order."""
        return Frame(
            {name: values[index] for name, values in self.numbers.items()},
            {name: days[index] for name, days in self.dates.items()},
            {name: Column(column.values[index], column.classes) for name, column in self.categories.items()},
            len(index),
        )


class Moments(NamedTuple):
    """Of whole numbers, by channel: how many there are, their sum and that of their squares."""

    values: int
    total: tuple[int, ...]
    squares: tuple[int, ...]


class Stream(ABC):
    """Images that stay in files, and are decoded when they are asked for.

    shape: of one, (C, H, W). workers: processes that decode ahead.
    """

    shape: tuple[int, ...]
    workers: int

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def __getitem__(self, index: Tensor) -> Self:
        """Those at `index`, in that order; decodes nothing."""

    @abstractmethod
    def read(self, index: Tensor) -> Tensor:
        """Decodes those at `index`.

        Shapes: (B,) -> (B, C, H, W) uint8
        Raises: JobError: a file that was whole is no longer.
        """

    @abstractmethod
    def moments(self) -> Moments:
        """Of all values; decodes nothing."""


class Samples(NamedTuple):
    """Inputs with the columns that targets are made from.

    inputs: images (N, C, H, W) uint8, vectors (N, D) float32, a table's rows, or images that stay in files.
    """

    inputs: Tensor | Frame | Stream
    columns: dict[str, Column]


class Loaded(NamedTuple):
    """What a source gives: its official train and test, a digest of the content, and val where it has an own one."""

    train: Samples
    test: Samples
    digest: str
    val: Samples | None = None


class Place(NamedTuple):
    """Where a source looks and keeps things, what decides its synthesis, and what is wanted of it.

    labels: the columns that tasks read, and what for; a source whose columns are always the same need not look.
    tags: what stands between two tags, by column of those whose cells hold several.
    thorough: whether all that cannot be read is to be told, which may take long, and not the first alone.
    memory: bytes that decoded images may take, else they stay in files; None: any number. workers: processes that then
    decode them.
    """

    data_dir: Path
    cache_dir: Path
    seed: int
    download: bool
    labels: Mapping[str, Reads]
    tags: Mapping[str, str] = MappingProxyType({})
    thorough: bool = False
    memory: int | None = None
    workers: int = 1


class Source(ABC):
    """One kind of data; built from its options and a place."""

    @abstractmethod
    def load(self) -> Loaded:
        """Reads everything, from the cache where it was read before.

        Raises: ConfigError: nothing was found; one line: where it looked and the ways to provide it.
        """

    def where(self, split: str, number: int) -> str:
        """Where sample `number` of what `load` gave as train, val or test comes from: a file, and a row in it."""
        return f"sample {number + 1} of {split}"


class RawPart(NamedTuple):
    """One part of a split before anything was read off train: as PartData, but for tables, which are not encoded."""

    inputs: Tensor | Frame | Stream
    targets: dict[str, Tensor]
    origin: Tensor


class PartData(NamedTuple):
    """One part of a split: inputs (N, ...), each task's targets (N, ...), and each sample's origin in its source.

    origin: (N,) int64, numbers for `Source.where`.
    """

    inputs: Tensor | Stream
    targets: dict[str, Tensor]
    origin: Tensor


Split = dict[str, PartData]


class InputSpec(NamedTuple):
    """What a prepared sample looks like, all that a backbone is told of the data.

    shape: (C, H, W) of an image, (D,) of a vector or a table's row.
    categories: of a table, how many codes each of its last columns has; code 0 is the unknown one.
    """

    shape: tuple[int, ...]
    categories: tuple[int, ...] = ()


class Preparation(Struct, frozen=True):
    """How a part's raw inputs become the model's: augmented, resized, and scaled by mean and deviation.

    `mean` and `std` have one entry a channel (or a column) of the model's input, in raw units; images of one channel
    are repeated where they have several. `crop` and `flip` only in training. `size`: height and width that images are
    resized to, after these; None: they stay as they are. `table`: of a table, whose rows are encoded once, when they
    are read; mean and deviation are then 0 and 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: int
    flip: bool
    size: tuple[int, int] | None = None
    table: Encoding | None = None

    def shape(self, raw: tuple[int, ...]) -> tuple[int, ...]:
        """Of a prepared sample, given that of a raw one."""
        if len(raw) == 1:
            return raw
        return (max(raw[0], len(self.mean)), *(self.size or raw[1:]))

    @property
    def categories(self) -> tuple[int, ...]:
        """How many codes each of a table's last columns has."""
        return self.table.cardinalities if self.table else ()


class Part(NamedTuple):
    """One forward pass: inputs (B, ...), targets (B,) or (B, C) by task, and how many labels each task has.

    Of several processes each has its rows of a batch, down to none; `share` says which, None where it has all.
    `labelled` is counted over all of them, on the host, so that no one waits to know which tasks are active.
    """

    name: str
    inputs: Tensor
    targets: dict[str, Tensor]
    labelled: dict[str, int]
    share: Portion | None = None

    @property
    def portion(self) -> Portion:
        """Where its rows lie among all."""
        return self.share or Portion(0, len(self.inputs), len(self.inputs))


class Batch(NamedTuple):
    """What one step sees: tasks that share their input are one part.

    partial: whether it has fewer samples than others, as it is the last of its epoch.
    """

    parts: list[Part]
    partial: bool = False
