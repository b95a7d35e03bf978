"""Which samples go where: a seeded subset, and a validation part carved from train."""

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column, PartData, RawPart, Samples
from mtl_cli.data.strata import divide
from mtl_cli.draws import generator, seed_of

D = TypeVar("D", Samples, RawPart, PartData)


def take(data: D, index: Tensor) -> D:
    """The samples at `index`, in that order."""
    if isinstance(data, Samples):
        columns = {name: Column(column.values[index], column.classes) for name, column in data.columns.items()}
        return Samples(data.inputs[index], columns)
    targets = {task: target[index] for task, target in data.targets.items()}
    if isinstance(data, RawPart):
        return RawPart(data.inputs[index], targets, data.origin[index])
    return PartData(data.inputs[index], targets, data.origin[index])


def limit(count: int, n: int | None, seed: int, *words: str) -> Tensor:
    """At most `n` of `count` samples, drawn at random and kept in their order; all of them for None.

    Args:
        count: of samples.
        n: how many to keep.
        seed: of the data.
        words: name the draw, such as the part and train or test.
    Shapes: -> (n,) int64 indices, ascending
    """
    if n is None or n >= count:
        return torch.arange(count)
    chosen = torch.randperm(count, generator=generator(seed, "limit", *words))[:n]
    return chosen.sort().values


def carve(strata: list[Tensor], count: int, share: float, seed: int, part: str) -> tuple[Tensor, Tensor]:
    """Divides `count` samples in two, alike in the joint label of several tasks.

    Each joint label has its share in the second, to within one sample. A joint label too rare for one sample there
    falls back to the first task's label, among the rare ones; what is still too rare is pooled. A missing label is
    a label of its own here.

    Args:
        strata: targets of each task with classes, the first task first; none: a plain random split. (count,), or of
            any number of tags (count, C): a sample's label is then its rarest tag.
        count: of samples.
        share: of the second, in [0, 1); above 0, both have at least one sample where there are two.
        seed: of the data.
        part: its name, which names the draw.
    Shapes: -> (count - n,) and (n,), int64 indices, ascending
    """
    n = min(max(round(count * share), 1), count - 1) if share > 0 and count > 1 else 0
    everything = torch.arange(count)
    if n == 0:
        return everything, everything[:0]
    groups = _groups(strata, min(n, count - n)) if strata else torch.zeros(count, dtype=torch.long)
    first, second = divide(groups.numpy(), n, seed_of(seed, "carve", part) % 2**32)
    return torch.from_numpy(first), torch.from_numpy(second)


def keep_seen(strata: list[Tensor], stay: Tensor, go: Tensor) -> tuple[Tensor, Tensor]:
    """What `carve` gave, but a class, or a tag, that would be only among those that go has its first sample stay.

    Shapes: (N,) each; (count - n,) and (n,), int64 indices, ascending -> the same with other n
    """
    moved = torch.zeros(len(go), dtype=torch.bool)
    for has in (has for target in strata for has in _labels(target, go)):
        if not has[stay].any() and not has[go[moved]].any():
            moved[int(has[go].nonzero()[0])] = True
    return torch.cat([stay, go[moved]]).sort().values, go[~moved]


def _labels(target: Tensor, go: Tensor) -> Iterator[Tensor]:
    """For each class, or tag, that some of those that go have: which samples have it. Shapes: -> (N,) bool each"""
    if target.ndim == 2:
        yield from (has for has in (target == 1).unbind(1) if has[go].any())
    else:
        whole = _whole(target)
        yield from (whole == label for label in whole[go].unique() if label != MISSING)


def _groups(strata: list[Tensor], few: int) -> Tensor:
    """The stratum of each sample, each with room among the `few` of the smaller side. Shape: (N,)"""
    labels = torch.stack([_whole(target) for target in strata], dim=1)
    joint = labels.unique(dim=0, return_inverse=True)[1]
    first = labels[:, 0].unique(return_inverse=True)[1] + len(labels)
    pool = torch.full_like(first, 2 * len(labels))
    groups = torch.where(_rare(joint, few), first, joint)
    groups = torch.where(_rare(groups, few), pool, groups)
    if _rare(groups, few).any():
        groups = torch.where(groups == pool, groups.mode().values, groups)
    return groups


def _rare(groups: Tensor, few: int) -> Tensor:
    """Whether each sample's group is too small for one sample on the smaller side. Shapes: (N,) -> (N,) bool"""
    _, inverse, sizes = groups.unique(return_inverse=True, return_counts=True)
    rare: Tensor = sizes * few < len(groups)
    return rare[inverse]


def _whole(target: Tensor) -> Tensor:
    """Integer labels, with MISSING for NaN. Shapes: (N,) or (N, C) -> (N,) int64"""
    if target.ndim == 2:
        return _rarest(target)
    if target.is_floating_point():
        return torch.where(target.isnan(), torch.full_like(target, MISSING), target).long()
    return target.long()


def _rarest(tags: Tensor) -> Tensor:
    """Each sample's tag that the fewest have; C without any, MISSING without a label. Shapes: (N, C) -> (N,) int64"""
    there = tags == 1
    rarest = torch.full((len(tags),), tags.shape[1])
    for c in there.sum(0).argsort(descending=True, stable=True).tolist():
        rarest[there[:, c]] = c
    return torch.where(tags.isnan().any(1), MISSING, rarest)
