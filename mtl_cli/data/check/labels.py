"""Labels that cannot be learned from, or not be measured by."""

from collections.abc import Mapping

import torch

from mtl_cli.data.base import labelled
from mtl_cli.data.check.finding import Finding, Pieces, at, found

EVALUATED = ("val", "test")


def labels(task: str, pieces: Pieces, classes: tuple[str, ...]) -> list[Finding]:
    """None in a split, one value only, classes that train never has."""
    targets = {split: piece.data.targets[task] for split, piece in pieces.items()}
    there = {split: target[labelled(target)] for split, target in targets.items()}
    if len(there["train"]) == 0:
        return [Finding(True, f"task {task} has no label in train: check its target, or leave it out (~tasks.{task})")]
    findings = [
        Finding(False, f"task {task} has no label in {split}, so no figure there")
        for split in EVALUATED
        if split in there and len(there[split]) == 0
    ]
    if there["train"].ndim == 2:
        return findings + _constant_tags(task, there["train"], classes)
    values = there["train"].unique()
    if len(values) == 1:
        only = classes[int(values[0])] if classes else f"{float(values[0]):g}"
        findings.append(Finding(True, f"task {task} is constant: every label in train is {only}"))
    return findings + (_unseen(task, pieces, values, classes) if classes else [])


def _unseen(task: str, pieces: Pieces, values: torch.Tensor, classes: tuple[str, ...]) -> list[Finding]:
    findings = []
    elsewhere: set[int] = set()
    for split in EVALUATED:
        if split not in pieces:
            continue
        target = pieces[split].data.targets[task]
        mask = labelled(target) & ~torch.isin(target, values)
        if mask.any():
            codes = target[mask].unique().long().tolist()
            elsewhere |= set(codes)
            names = ", ".join(classes[code] for code in codes[:5])
            line = f"task {task}: {split} has labels that train never has: {names}"
            findings.append(found(True, line, at(pieces[split], mask), int(mask.sum())))
    seen = set(values.long().tolist())
    never = [name for i, name in enumerate(classes) if i not in seen | elsewhere]
    if never:
        findings.append(Finding(False, f"task {task}: no row has the class {', '.join(never[:5])}"))
    return findings


def _constant_tags(task: str, target: torch.Tensor, classes: tuple[str, ...]) -> list[Finding]:
    """Tags that all rows of train have, or none. Shapes: target (N, C)"""
    columns: Mapping[str, torch.Tensor] = dict(zip(classes, target.unbind(1), strict=True))
    never = [name for name, column in columns.items() if not (column > 0).any()]
    always = [name for name, column in columns.items() if bool((column != 0).all())]
    told = (("no row of train has", never), ("every row of train has", always))
    return [Finding(False, f"task {task}: {words} the tag {', '.join(tags[:5])}") for words, tags in told if tags]
