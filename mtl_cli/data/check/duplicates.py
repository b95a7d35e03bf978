"""The same input more than once: in one split, in two, or with two labels."""

import hashlib
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtl_cli.data.base import Frame, Stream, labelled
from mtl_cli.data.check.finding import Finding, Pieces, found, share
from mtl_cli.data.table.encoding import joined
from mtl_cli.options import MOST_PLACES

CHUNK = 256
NATURAL = 0.5
"""Twins of a table's rows are no leak where train itself has at least this much as many of them as train and test."""
LEAK = 0.001
"""Share of a split that stands in another one too from which its figures cannot be believed to a thousandth."""

Groups = npt.NDArray[np.int64]


class Twins(NamedTuple):
    """Rows with equal inputs have one number, by split: (N,) each; `sizes` (G,) is how many rows each number has."""

    groups: dict[str, Groups]
    sizes: Groups

    @property
    def repeated(self) -> int:
        """Rows that have a twin anywhere."""
        return int(self.sizes[self.sizes > 1].sum())


def twins(inputs: Mapping[str, Tensor | Frame | Stream]) -> Twins:
    """Groups rows by a hash (BLAKE2, 128 bits) of their whole content."""
    table = _table(inputs)
    numbers: dict[bytes, int] = {}
    groups = {
        split: np.fromiter((numbers.setdefault(key, len(numbers)) for key in _hashes(table[split])), dtype=np.int64)
        for split in inputs
    }
    sizes = np.bincount(np.concatenate(list(groups.values())), minlength=len(numbers))
    return Twins(groups, sizes)


def duplicates(pieces: Pieces, classes: Mapping[str, tuple[str, ...]]) -> list[Finding]:
    """Equal inputs within a split, in two splits, and with different labels of a task with classes."""
    its = twins({split: piece.data.inputs for split, piece in pieces.items()})
    if its.repeated == 0:
        return []
    of_table = isinstance(pieces["train"].data.inputs, Frame)
    item = "row" if of_table else "input"
    findings = _coarse(its) if of_table else []
    coarse = bool(findings)
    findings += _in_two_splits(pieces, its, item, coarse)
    findings += [] if coarse else _within(pieces, its, item)
    return findings + _contradicted(pieces, its, classes, item)


def _coarse(its: Twins) -> list[Finding]:
    """Where twins are about as frequent within train as between splits, it is not the split that made them."""
    train = its.groups["train"]
    within = int((np.bincount(train, minlength=len(its.sizes))[train] > 1).sum())
    others = [groups for split, groups in its.groups.items() if split != "train" and len(groups)]
    between = max((float(np.isin(groups, train).mean()) for groups in others), default=0.0)
    if between == 0 or within / len(train) < NATURAL * between:
        return []
    told = (
        f"{within:,} rows of train have a twin there ({share(within, len(train))}), and about as many in other splits"
    )
    return [Finding(False, f"{told}: the input columns are too coarse to tell rows apart, or rows were copied")]


def _table(inputs: Mapping[str, Tensor | Frame | Stream]) -> Mapping[str, Tensor | Stream]:
    """Of tables their rows as numbers, words coded alike in every split; all else as it is."""
    frames = {split: frame for split, frame in inputs.items() if isinstance(frame, Frame)}
    if not frames:
        return {split: data for split, data in inputs.items() if not isinstance(data, Frame)}
    whole = joined(list(frames.values()))
    columns = [*whole.numbers.values(), *whole.dates.values(), *(c.values.double() for c in whole.categories.values())]
    rows = torch.stack([torch.nan_to_num(column, torch.inf) + 0.0 for column in columns], dim=1)  # no -0.0, one NaN
    return dict(zip(frames, rows.split([len(frame) for frame in frames.values()]), strict=True))


def _hashes(data: Tensor | Stream) -> list[bytes]:
    chunks = torch.arange(len(data)).split(CHUNK)
    keys: list[bytes] = []
    for index in chunks:
        rows = data.read(index) if isinstance(data, Stream) else data[index]
        keys += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows.contiguous().numpy()]
    return keys


def _in_two_splits(pieces: Pieces, its: Twins, item: str, coarse: bool) -> list[Finding]:
    findings = []
    for first, second in combinations(pieces, 2):
        mask = np.isin(its.groups[second], its.groups[first])
        if not mask.any():
            continue
        rows, of = mask.nonzero()[0], len(mask)
        order = {group: row for row, group in reversed(list(enumerate(its.groups[first].tolist())))}
        pairs = (
            _pair(pieces[second].where(row), pieces[first].where(order[its.groups[second][row]]))
            for row in rows[: 0 if coarse else MOST_PLACES].tolist()
        )
        line = f"the same {item} in {first} and {second}: {len(rows):,} of {of:,} in {second} ({share(len(rows), of)})"
        error = not coarse and len(rows) >= LEAK * of
        findings.append(found(error, line, pairs, len(rows)))
    return findings


def _within(pieces: Pieces, its: Twins, item: str) -> list[Finding]:
    findings = []
    for split, piece in pieces.items():
        groups = its.groups[split]
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        rows = (first[inverse] != np.arange(len(groups))).nonzero()[0]
        if len(rows):
            pairs = (
                _pair(piece.where(row), piece.where(int(first[inverse[row]]))) for row in rows[:MOST_PLACES].tolist()
            )
            line = f"{split} has {len(rows):,} {item}s more than once"
            findings.append(found(False, line, pairs, len(rows)))
    return findings


def _pair(one: str, other: str) -> str:
    """Two places, without what stands before the last comma of both: the file."""
    file, _, place = other.rpartition(", ")
    return f"{one} = {place}" if file and one.startswith(f"{file}, ") else f"{one} = {other}"


def _contradicted(pieces: Pieces, its: Twins, classes: Mapping[str, tuple[str, ...]], item: str) -> list[Finding]:
    """Equal inputs with different labels: no model can be right on all of them."""
    findings = []
    for task, names in classes.items():
        if not names or pieces["train"].data.targets[task].ndim != 1:
            continue
        groups, labels = [], []
        for split, piece in pieces.items():
            target = piece.data.targets[task]
            mask = labelled(target).numpy()
            groups.append(its.groups[split][mask])
            labels.append(target.numpy()[mask].astype(np.int64))
        group, label = np.concatenate(groups), np.concatenate(labels)
        low, high = np.full(len(its.sizes), len(names)), np.full(len(its.sizes), -1)
        np.minimum.at(low, group, label)
        np.maximum.at(high, group, label)
        count = int((low < high)[group].sum())
        if count:
            line = f"task {task}: {count:,} labelled {item}s have a twin with another label"
            findings.append(Finding(False, line))
    return findings
