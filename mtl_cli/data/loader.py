"""Batches of a split that lies in memory, on the device that trains, or whose images are decoded as they are needed.

Order is a function of (seed, epoch, part, round), so an epoch begins at any batch without drawing those before it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtl_cli.data.ahead import ahead
from mtl_cli.data.augment import augmented, prepare
from mtl_cli.data.base import Batch, Part, PartData, Preparation, Split, Stream, labelled
from mtl_cli.data.options import SAMPLINGS, Uniform
from mtl_cli.data.sampling import Plan, in_words
from mtl_cli.draws import generator, seed_of
from mtl_cli.options import Option
from mtl_cli.processes import Portion, Processes

Mask = npt.NDArray[np.bool_]
Host = npt.NDArray[np.int64]
"""Rows, known on the host."""
UNIFORM = Uniform()
T = TypeVar("T", Tensor, Host)


def resident(split: Split, device: torch.device) -> Split:
    """The split on a device; without a copy where it is there, so that loaders share one transfer."""
    return {
        name: PartData(
            data.inputs if isinstance(data.inputs, Stream) else data.inputs.to(device),
            {task: target.to(device) for task, target in data.targets.items()},
            data.origin,
        )
        for name, data in split.items()
    }


class Shelf:
    """One part's data on the device, with where labels are missing on the host.

    So counting the labels of a batch never waits for the device.
    """

    def __init__(self, name: str, data: PartData, preparation: Preparation, device: torch.device) -> None:
        self.name = name
        self.data = data
        self._device = device
        self.preparation = preparation
        masks = {task: labelled(target).cpu() for task, target in data.targets.items()}
        self._masks: dict[str, Mask] = {task: mask.numpy() for task, mask in masks.items() if not mask.all()}

    def __len__(self) -> int:
        return len(self.data.inputs)

    def ahead(self, batches: Iterator[Host]) -> Iterator[Tensor] | None:
        """Of images that stay in files, those of each batch, decoded ahead; else None, and nothing is asked."""
        inputs = self.data.inputs
        return ahead(inputs, batches, self._device) if isinstance(inputs, Stream) else None

    def raw(self, rows: Tensor | slice, decoded: Iterator[Tensor] | None) -> Tensor:
        """Inputs as they are: those at `rows`, or, of images in files, the next that were decoded."""
        inputs = self.data.inputs
        if isinstance(inputs, Tensor):
            return inputs[rows]
        if isinstance(rows, Tensor) and len(rows) == 0:
            return torch.empty(0, *inputs.shape, dtype=torch.uint8, device=self._device)
        assert decoded is not None
        return next(decoded)

    def part(self, inputs: Tensor, rows: Tensor | slice, host: Host | slice, share: Portion | None) -> Part:
        """A batch's part: its prepared inputs, the targets at `rows`, and how many labels there are at `host`."""
        targets = {task: target[rows] for task, target in self.data.targets.items()}
        total = len(inputs) if share is None else share.total
        counts = {task: int(self._masks[task][host].sum()) if task in self._masks else total for task in targets}
        return Part(self.name, inputs, targets, counts, share)


def _shelves(split: Split, preparations: dict[str, Preparation], device: torch.device) -> list[Shelf]:
    return [Shelf(name, data, preparations[name], device) for name, data in resident(split, device).items()]


class TrainLoader:
    """Shuffled, augmented batches; how many samples of each part they have, and how many an epoch, its plan says.

    An epoch has as many steps as one pass over the largest part needs. A smaller part starts over, in a new order and
    with new draws each round. The last batch is partial; a lone last sample, which batch norm could not normalise, is
    left out, unless it is all there is. Of several processes each has its rows of every batch.

    Args:
        split: train.
        preparations: by part.
        batch_size: samples of each part in a batch, as the sampling reads it.
        seed: of the run.
        device: where data lies and batches are made.
        least: rows that a part must have in a batch, unless it has no more.
        sampling: how many samples of each part a batch has.
    Raises: ValueError: a part is empty.
    """

    def __init__(
        self,
        split: Split,
        preparations: dict[str, Preparation],
        batch_size: int,
        seed: int,
        device: torch.device,
        least: int = 2,
        sampling: Option = UNIFORM,
    ) -> None:
        self._shelves = _shelves(split, preparations, device)
        self._batch_size = batch_size
        self._seed = seed
        self._device = device
        self._processes = Processes()
        for shelf in self._shelves:
            if len(shelf) == 0:
                raise ValueError(f"every part of train should have a sample. Found none in {shelf.name}")
        sizes = [len(shelf) for shelf in self._shelves]
        self._plan: Plan = SAMPLINGS.target(sampling)(sampling, sizes, batch_size, least)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self._plan.steps

    def in_words(self, accumulate: int) -> str:
        """What an epoch is, with so many batches a step of the optimizer."""
        return in_words(self._plan, {shelf.name: len(shelf) for shelf in self._shelves}, accumulate)

    def opening(self) -> list[Part]:
        """The first samples of each part in the first epoch, as many as a batch is large."""
        spans = {shelf.name: (0, min(self._batch_size, len(shelf))) for shelf in self._shelves}
        return [next(self._parts(shelf, 0, [spans[shelf.name]], _whole)) for shelf in self._shelves]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from batch `start` on; the same ones whatever `start` is."""
        share = self._processes.portion if self._processes.grouped else _whole
        spans = [_Spans(self._plan, k, start) for k in range(len(self._shelves))]
        parts = [self._parts(shelf, epoch, its, share) for shelf, its in zip(self._shelves, spans, strict=True)]
        for step in range(start, self.steps):
            taken = zip(parts, self._plan.spans(step), strict=True)
            partial = step == self.steps - 1 and self._rows(step) < self._rows(0)
            yield Batch([next(its) for its, (first, last) in taken if first < last], partial)

    def _rows(self, step: int) -> int:
        """Samples of all parts in a batch."""
        return sum(last - first for first, last in self._plan.spans(step))

    def _parts(
        self, shelf: Shelf, epoch: int, spans: Iterable[tuple[int, int]], share: Callable[[int], Portion | None]
    ) -> Iterator[Part]:
        """One part's place in each batch: its samples at `spans` of its order in this epoch, or its share of them."""
        seed = seed_of(self._seed, shelf.name)
        hosts = (_of(host, share(len(host))) for _, _, host in self._places(shelf, epoch, spans))
        decoded = shelf.ahead(host for host in hosts if len(host))
        for rows, draws, host in self._places(shelf, epoch, spans):
            portion = share(len(host))
            own = _of(rows, portion)
            inputs = augmented(shelf.raw(own, decoded), shelf.preparation, _of(draws, portion), seed, epoch)
            yield shelf.part(inputs, own, host, portion)

    def _places(
        self, shelf: Shelf, epoch: int, spans: Iterable[tuple[int, int]]
    ) -> Iterator[tuple[Tensor, Host, Host]]:
        order = Rounds(self._seed, epoch, shelf.name, len(shelf), self._device)
        return (order.between(first, last) for first, last in spans)


def _whole(_: int) -> Portion | None:
    """The share of a process that has all rows."""
    return None


def _of(rows: T, portion: Portion | None) -> T:
    """Those of one process."""
    return rows if portion is None else rows[portion.start : portion.start + portion.rows]


class _Spans:
    """Which positions of a part's order the batches from `start` on take, without those that take none of it."""

    def __init__(self, plan: Plan, part: int, start: int) -> None:
        self._plan = plan
        self._part = part
        self._start = start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        spans = (self._plan.spans(step)[self._part] for step in range(self._start, self._plan.steps))
        return (span for span in spans if span[0] < span[1])


class Rounds:
    """One part's endless order within one epoch: round after round, each a permutation of its own."""

    def __init__(self, seed: int, epoch: int, part: str, count: int, device: torch.device) -> None:
        self._words = (seed, epoch, part)
        self._count = count
        self._device = device
        self._round = -1
        self._host = torch.empty(0, dtype=torch.long)
        self._there = self._host

    def between(self, first: int, last: int) -> tuple[Tensor, Host, Host]:
        """Positions `first` to `last`: rows, and on the host names of their draws (row + round x count) and rows.

        Shapes: -> (last - first,) each
        """
        rows, draws, host = [], [], []
        while first < last:
            number, begin = divmod(first, self._count)
            end = min(self._count, begin + last - first)
            self._turn(number)
            rows.append(self._there[begin:end])
            host.append(self._host[begin:end].numpy())
            draws.append(host[-1] + number * self._count)
            first += end - begin
        if len(rows) == 1:
            return rows[0], draws[0], host[0]
        return torch.cat(rows), np.concatenate(draws), np.concatenate(host)

    def _turn(self, number: int) -> None:
        """Draws the order of one round, unless it is the present one."""
        if number != self._round:
            seed, epoch, part = self._words
            self._host = torch.randperm(self._count, generator=generator(seed, "order", epoch, part, number))
            self._there = self._host.to(self._device)
            self._round = number


class EvalLoader:
    """Batches of all samples in their order, scaled only; a part that has run out is not in the batch.

    Args:
        split: any.
        preparations: by part.
        batch_size: samples of each part in a batch.
        device: where data lies and batches are made.
    """

    def __init__(
        self, split: Split, preparations: dict[str, Preparation], batch_size: int, device: torch.device
    ) -> None:
        self._shelves = _shelves(split, preparations, device)
        self._batch_size = batch_size

    @property
    def steps(self) -> int:
        """Batches in all."""
        return -(-max((len(shelf) for shelf in self._shelves), default=0) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.dealt(0, 1)

    def dealt(self, rank: int, size: int) -> Iterator[Batch]:
        """Every `size`-th batch from number `rank` on, whole: each process has its own, and all are as one has them."""
        numbers = range(rank, self.steps, size)
        parts = [self._parts(shelf, numbers) for shelf in self._shelves]
        for _ in numbers:
            found = [next(its, None) for its in parts]
            yield Batch([part for part in found if part is not None])

    def _parts(self, shelf: Shelf, numbers: range) -> Iterator[Part]:
        starts = [start for number in numbers if (start := number * self._batch_size) < len(shelf)]
        ends = [min(start + self._batch_size, len(shelf)) for start in starts]
        decoded = shelf.ahead(np.arange(start, end) for start, end in zip(starts, ends, strict=True))
        for start, end in zip(starts, ends, strict=True):
            rows = slice(start, end)
            yield shelf.part(prepare(shelf.raw(rows, decoded), shelf.preparation), rows, rows, None)
