"""Values that a model trained on train will not know what to make of."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column, Frame
from mtl_cli.data.check.finding import Finding, Pieces, at, found, rows, share

EVALUATED = ("val", "test")
NAMED = 4


def inputs(pieces: Pieces) -> list[Finding]:
    """Of the columns of a table, or of vectors; images have none."""
    data = {split: piece.data.inputs for split, piece in pieces.items()}
    frames = {split: frame for split, frame in data.items() if isinstance(frame, Frame)}
    if frames:
        findings = []
        for kind in ("numbers", "dates"):
            for name in vars(frames["train"])[kind]:
                values = {split: vars(frame)[kind][name] for split, frame in frames.items()}
                findings += _column(f"column {name}", values, pieces, dated=kind == "dates")
        for name in frames["train"].categories:
            findings += _words(name, {split: frame.categories[name] for split, frame in frames.items()})
        return findings
    vectors = {split: its for split, its in data.items() if isinstance(its, Tensor) and its.ndim == 2}
    if not vectors:
        return []
    width = vectors["train"].shape[1]
    columns = [{split: its[:, i].double() for split, its in vectors.items()} for i in range(width)]
    return [f for i, values in enumerate(columns) for f in _column(f"number {i + 1}", values, pieces, dated=False)]


def targets(task: str, pieces: Pieces) -> list[Finding]:
    """Of a task of numbers."""
    values = {split: piece.data.targets[task].double() for split, piece in pieces.items()}
    return infinite(f"task {task}", values, pieces) + _far(f"task {task}", values, pieces, dated=False)


def _column(name: str, values: Mapping[str, Tensor], pieces: Pieces, *, dated: bool) -> list[Finding]:
    train = values["train"][values["train"].isfinite()]
    if len(train) == 0:
        return [Finding(False, f"{name} is empty in train: leave it out"), *infinite(name, values, pieces)]
    findings = infinite(name, values, pieces)
    if len(train) > 1 and bool((train == train[0]).all()):
        findings.append(Finding(False, f"{name} is constant in train: it tells nothing"))
    return findings + _far(name, values, pieces, dated=dated)


def infinite(name: str, values: Mapping[str, Tensor], pieces: Pieces) -> list[Finding]:
    """Rows with an infinite number. Shapes: values (N,) by split"""
    masks = {split: column.isinf() for split, column in values.items()}
    count = sum(int(mask.sum()) for mask in masks.values())
    if count == 0:
        return []
    places = [place for split, mask in masks.items() for place in at(pieces[split], mask)]
    return [found(True, f"{name} is infinite in {rows(count)}", places, count)]


def _far(name: str, values: Mapping[str, Tensor], pieces: Pieces, *, dated: bool) -> list[Finding]:
    """Beyond train's range by more than its whole width."""
    train = values["train"][values["train"].isfinite()]
    if len(train) == 0 or bool((train == train[0]).all()):
        return []
    low, high = float(train.min()), float(train.max())
    width = high - low
    findings = []
    for split in EVALUATED:
        column = values.get(split)
        if column is None:
            continue
        mask = column.isfinite() & ((column < low - width) | (column > high + width))
        if mask.any():
            count, worst = int(mask.sum()), column[mask][(column[mask] - (low + high) / 2).abs().argmax()]
            shown = [_in_words(x, dated) for x in (low, high, float(worst))]
            line = f"{name}: {rows(count)} of {split} far outside of train's {shown[0]} to {shown[1]}, as {shown[2]}"
            findings.append(found(False, line, at(pieces[split], mask), count))
    return findings


def _words(name: str, columns: Mapping[str, Column]) -> list[Finding]:
    """Words that train lacks are unknown ones; a column of one word tells nothing."""
    train = columns["train"]
    names = train.classes or ()
    present = train.values[train.values != MISSING].unique().tolist()
    known = {names[i] for i in present}
    if not known:
        return [Finding(False, f"column {name} is empty in train: leave it out")]
    findings = []
    if len(known) == 1 and not bool((train.values == MISSING).any()):
        findings.append(Finding(False, f"column {name} is constant in train: it tells nothing"))
    for split in EVALUATED:
        column = columns.get(split)
        if column is None or len(column.values) == 0:
            continue
        new = torch.tensor([word not in known for word in column.classes or ()] + [False])
        mask = new[torch.where(column.values == MISSING, len(new) - 1, column.values.long())]
        if mask.any():
            words = [(column.classes or ())[i] for i in column.values[mask].unique().tolist()]
            more = f", and {len(words) - NAMED:,} more" if len(words) > NAMED else ""
            told = f"in {rows(int(mask.sum()))} of {split} ({share(int(mask.sum()), len(mask))}), words"
            findings.append(
                Finding(False, f"column {name}: {told} that train never has: {', '.join(words[:NAMED])}{more}")
            )
    return findings


def _in_words(value: float, dated: bool) -> str:
    return str(np.datetime64(int(value), "D")) if dated else f"{value:g}"
