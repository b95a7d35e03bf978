"""What `mtl data` counts, as plain values."""

from collections.abc import Mapping
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from mtl_cli.commands.examine import Examined
from mtl_cli.config import Config
from mtl_cli.data.base import MISSING, Frame, Stream, labelled
from mtl_cli.data.check.finding import share
from mtl_cli.options import tag
from mtl_cli.reporting.inspection import Classes, Numbers, PartFacts, TaskFacts

COLOURS = {1: "grey", 3: "in colour"}


def part_facts(config: Config, examined: Examined) -> PartFacts:
    """The counts of one part that could be read."""
    pieces = {split: piece.data for split, piece in examined.pieces.items()}
    targets = {task: {split: data.targets[task] for split, data in pieces.items()} for task in examined.classes}
    masks = {task: torch.cat([labelled(its) for its in by_split.values()]) for task, by_split in targets.items()}
    return PartFacts(
        examined.part,
        _inputs([data.inputs for data in pieces.values()]),
        {split: len(data.inputs) for split, data in pieces.items()},
        tuple(
            _task(task, tag(config.tasks[task]), by_split, examined.classes[task]) for task, by_split in targets.items()
        ),
        {(a, b): int((masks[a] & masks[b]).sum()) for a, b in combinations_with_replacement(masks, 2)},
    )


def _task(name: str, kind: str, targets: Mapping[str, Tensor], classes: tuple[str, ...]) -> TaskFacts:
    there = {split: int(labelled(target).sum()) for split, target in targets.items()}
    if classes:
        return TaskFacts(name, kind, there, Classes(classes, {s: counts(t, classes) for s, t in targets.items()}))
    found = {split: target[labelled(target)].double() for split, target in targets.items()}
    numbers = {
        split: (float(t.min()), float(t.mean()), float(t.max()), float(t.std(correction=0)))
        for split, t in found.items()
        if len(t)
    }
    return TaskFacts(name, kind, there, Numbers(numbers))


def counts(target: Tensor, classes: tuple[str, ...]) -> list[int]:
    """Labelled rows that have each class, or each tag. Shapes: (N,) or (N, C)"""
    there = target[labelled(target)]
    if there.ndim == 2:
        return [int(count) for count in (there > 0).sum(0)]
    return [int(count) for count in torch.bincount(there.long(), minlength=len(classes))]


def _inputs(pieces: list[Tensor | Frame | Stream]) -> str:
    total = sum(map(len, pieces))
    first = pieces[0]
    if isinstance(first, Frame):
        kinds = {"numbers": len(first.numbers), "dates": len(first.dates), "categories": len(first.categories)}
        told = ", ".join(f"{count:,} of {kind}" for kind, count in kinds.items() if count)
        return f"{total:,} rows, input columns: {told or 'none'}{_empty([p for p in pieces if isinstance(p, Frame)])}"
    shape = tuple(first.shape) if isinstance(first, Stream) else tuple(first.shape[1:])
    if len(shape) == 3:
        lie = ", left in files" if isinstance(first, Stream) else ""
        colours = COLOURS.get(shape[0], f"{shape[0]} channels")
        return f"{total:,} images of {shape[1]}x{shape[2]}, {colours}{lie}"
    return f"{total:,} rows of {shape[0]:,} numbers"


def _empty(frames: list[Frame]) -> str:
    """How many input cells are empty, and in which column the most."""
    total = sum(map(len, frames))
    empty: dict[str, int] = {}
    for frame in frames:
        columns = {**frame.numbers, **frame.dates}
        found = {name: int(values.isnan().sum()) for name, values in columns.items()}
        found |= {name: int((column.values == MISSING).sum()) for name, column in frame.categories.items()}
        empty = {name: empty.get(name, 0) + count for name, count in found.items()}
    some = {name: count for name, count in empty.items() if count}
    if not some:
        return "; no cell is empty"
    most = max(some, key=lambda name: some[name])
    return f"; empty cells in {len(some):,} of them, most in {most} ({share(some[most], total)})"
