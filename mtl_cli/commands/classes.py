"""Classes and tags of a part's targets against those that a model is trained on."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl_cli.config import Config
from mtl_cli.data.base import RawPart, Source, labelled
from mtl_cli.options import MOST_PLACES, DataError, text
from mtl_cli.tasks.target import column_read

Classes = Mapping[str, tuple[str, ...]]
"""By task; none where it has numbers."""


def seen(config: Config, name: str, targets: Mapping[str, Tensor], classes: tuple[str, ...], source: Source) -> None:
    """Raises: ConfigError: a class or a tag in val or test that no sample of the whole train has."""
    if not classes:
        return
    for split in ("val", "test"):
        if split in targets:
            pairs = _unseen(targets["train"], targets[split])
            _refuse(config, name, split, targets[split], pairs, classes, source, "train never has")


def as_learned(
    config: Config, pieces: Mapping[str, RawPart], classes: Classes, learned: Classes, source: Source
) -> dict[str, RawPart]:
    """The pieces with classes coded as a checkpoint has them, whose data may have had others, or in another order.

    Raises: ConfigError: a class or a tag that the checkpoint does not know.
    """
    found = dict(pieces)
    for name in (name for name, its in classes.items() if its != learned[name]):
        for split, piece in pieces.items():
            target, strange = recoded(piece.targets[name], classes[name], learned[name])
            pairs = torch.stack([piece.origin[strange[:, 0]], strange[:, 1]], dim=1)
            _refuse(config, name, split, target, pairs, classes[name], source, "the checkpoint was not trained on")
            found[split] = found[split]._replace(targets={**found[split].targets, name: target})
    return found


def recoded(target: Tensor, classes: Sequence[str], known: Sequence[str]) -> tuple[Tensor, Tensor]:
    """A target with other codes, and the K rows with a class or a tag that is not known, and which.

    Shapes: (N,), or (N, C) -> the same, or (N, known tags), and (K, 2)
    """
    there = labelled(target)
    if target.ndim == 2:
        none = torch.where(there, 0.0, torch.nan).to(target.dtype)
        at = dict(zip(classes, target.unbind(1), strict=True))
        strange = torch.tensor([tag not in known for tag in classes])
        return torch.stack([at.get(tag, none) for tag in known], dim=1), ((target == 1) & strange).nonzero()
    table = torch.tensor([known.index(name) if name in known else -1 for name in classes])
    old = torch.where(there, target, 0).long()
    rows = (there & (table[old] < 0)).nonzero()[:, 0]
    return torch.where(there, table[old].to(target.dtype), target), torch.stack([rows, old[rows]], dim=1)


def _unseen(known: Tensor, target: Tensor) -> Tensor:
    """The K rows with a class or a tag that `known` never has, and which. Shapes: (N,), or (N, C), each -> (K, 2)"""
    if known.ndim == 2:
        return ((target == 1) & ~(known == 1).any(0)).nonzero()
    rows = (labelled(target) & ~torch.isin(target, known.unique())).nonzero()[:, 0]
    return torch.stack([rows, target[rows].long()], dim=1)


def _refuse(
    config: Config,
    name: str,
    split: str,
    target: Tensor,
    pairs: Tensor,
    classes: Sequence[str],
    source: Source,
    whom: str,
) -> None:
    """Raises: ConfigError: there are such pairs of a sample's number in its source and a class. Shapes: pairs (K, 2)"""
    if len(pairs) == 0:
        return
    several = target.ndim == 2
    column, what = column_read(config.tasks[name].target)[0], "tag" if several else "class"
    places = [
        f"{source.where(split, row)}, column {column}: {text(classes[label])}"
        for row, label in pairs[:MOST_PLACES].tolist()
    ]
    way_out = f"leave it out of {split}{'' if several else ', or map it to null'}"
    many = f"task {name}: {len(pairs):,} labels of {split} are a {what} that {whom}: {way_out}"
    raise DataError(f"{places[0]} is a {what} of tasks.{name} that {whom}: {way_out}", many, places, len(pairs))
