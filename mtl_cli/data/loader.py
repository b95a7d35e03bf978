"""Batches of a split that lies in memory, on the device that trains.

Order is a function of (seed, epoch, part, round), so an epoch begins at any batch without drawing those before it.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtl_cli.data.augment import augmented, prepare
from mtl_cli.data.base import Batch, Part, PartData, Preparation, Split, Stream, labelled
from mtl_cli.data.options import SAMPLINGS, Uniform
from mtl_cli.data.sampling import Plan, in_words
from mtl_cli.draws import generator, seed_of
from mtl_cli.options import Option

Mask = npt.NDArray[np.bool_]
UNIFORM = Uniform()


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

    def __init__(self, name: str, data: PartData, preparation: Preparation) -> None:
        self.name = name
        self.data = data
        self.preparation = preparation
        masks = {task: labelled(target).cpu() for task, target in data.targets.items()}
        self._masks: dict[str, Mask] = {task: mask.numpy() for task, mask in masks.items() if not mask.all()}

    def __len__(self) -> int:
        return len(self.data.inputs)

    def part(self, inputs: Tensor, rows: Tensor | slice, host: npt.NDArray[np.int64] | slice) -> Part:
        """A batch's part: its prepared inputs, and the targets and label counts at `rows`, also known as `host`."""
        targets = {task: target[rows] for task, target in self.data.targets.items()}
        counts = {task: int(self._masks[task][host].sum()) if task in self._masks else len(inputs) for task in targets}
        return Part(self.name, inputs, targets, counts)


def _shelves(split: Split, preparations: dict[str, Preparation], device: torch.device) -> list[Shelf]:
    return [Shelf(name, data, preparations[name]) for name, data in resident(split, device).items()]


class TrainLoader:
    """Shuffled, augmented batches; how many samples of each part they have, and how many an epoch, its plan says.

    An epoch has as many steps as one pass over the largest part needs. A smaller part starts over, in a new order and
    with new draws each round. The last batch is partial; a lone last sample, which batch norm could not normalise, is
    left out, unless it is all there is.

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
        orders = self._orders(0)
        return [
            self._part(shelf, order, 0, 0, min(self._batch_size, len(shelf)))
            for shelf, order in zip(self._shelves, orders, strict=True)
        ]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from batch `start` on; the same ones whatever `start` is."""
        orders = self._orders(epoch)
        for step in range(start, self.steps):
            spans = zip(self._shelves, orders, self._plan.spans(step), strict=True)
            yield Batch([self._part(shelf, order, epoch, *span) for shelf, order, span in spans if span[0] < span[1]])

    def _orders(self, epoch: int) -> list["Rounds"]:
        return [Rounds(self._seed, epoch, shelf.name, len(shelf), self._device) for shelf in self._shelves]

    def _part(self, shelf: Shelf, order: "Rounds", epoch: int, first: int, last: int) -> Part:
        rows, draws, host = order.between(first, last)
        seed = seed_of(self._seed, shelf.name)
        assert isinstance(shelf.data.inputs, Tensor)
        inputs = augmented(shelf.data.inputs[rows], shelf.preparation, draws, seed, epoch)
        return shelf.part(inputs, rows, host)


class Rounds:
    """One part's endless order within one epoch: round after round, each a permutation of its own."""

    def __init__(self, seed: int, epoch: int, part: str, count: int, device: torch.device) -> None:
        self._words = (seed, epoch, part)
        self._count = count
        self._device = device
        self._round = -1
        self._host = torch.empty(0, dtype=torch.long)
        self._there = self._host

    def between(self, first: int, last: int) -> tuple[Tensor, Tensor, npt.NDArray[np.int64]]:
        """Positions `first` to `last`: rows, names of their draws (row + round x count), and rows on the host.

        Shapes: -> (last - first,) each
        """
        rows, draws, host = [], [], []
        while first < last:
            number, begin = divmod(first, self._count)
            end = min(self._count, begin + last - first)
            self._turn(number)
            rows.append(self._there[begin:end])
            draws.append(rows[-1] + number * self._count)
            host.append(self._host[begin:end])
            first += end - begin
        if len(rows) == 1:
            return rows[0], draws[0], host[0].numpy()
        return torch.cat(rows), torch.cat(draws), torch.cat(host).numpy()

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
        for step in range(self.steps):
            rows = slice(step * self._batch_size, (step + 1) * self._batch_size)
            yield Batch([self._part(shelf, rows) for shelf in self._shelves if rows.start < len(shelf)])

    def _part(self, shelf: Shelf, rows: slice) -> Part:
        assert isinstance(shelf.data.inputs, Tensor)
        inputs = prepare(shelf.data.inputs[rows], shelf.preparation)
        return shelf.part(inputs, rows, rows)
