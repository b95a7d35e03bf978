"""Cells with several tags in them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column
from mtl_cli.options import ConfigError

LARGEST = 2**30
"""Entries of a matrix of tags, of four bytes each."""


def apart(cell: str, separator: str) -> list[str]:
    """The tags of a cell, blanks stripped; what is empty between two separators is none."""
    return [tag for part in cell.split(separator) if (tag := part.strip())]


def spread(
    where: str, column: Column, cells: list[list[str]], missing: float = torch.nan
) -> tuple[Tensor, tuple[str, ...]]:
    """Which row has which tag, and the tags that any row has, sorted.

    Args:
        where: names the column in an error.
        column: codes of cells, MISSING where there is no label.
        cells: the tags of each cell, by code.
        missing: what stands in a row without a label.
    Shapes: column (N,) -> (N, C) float, zeros and ones
    Raises: ConfigError: there are so many that the matrix would take gigabytes.
    """
    used = [code for code in column.values.unique().tolist() if code != MISSING]
    tags = tuple(sorted({tag for code in used for tag in cells[code]}))
    if len(column.values) * len(tags) > LARGEST:
        raise ConfigError(
            f"{where} has {len(tags):,} different tags in {len(column.values):,} rows, too many for memory: is it a "
            "list of tags, and is the task's separator what stands between them?"
        )
    at = {tag: c for c, tag in enumerate(tags)}
    table = torch.zeros(len(cells) + 1, len(tags))
    pairs = torch.tensor([(code, at[tag]) for code in used for tag in cells[code]], dtype=torch.long).view(-1, 2)
    table[pairs[:, 0], pairs[:, 1]] = 1.0
    table[-1] = missing
    return table[torch.where(column.values == MISSING, len(cells), column.values)], tags


def strata(labels: Mapping[str, Column], separators: Mapping[str, str]) -> list[Tensor]:
    """What a source's own split is stratified over: each column of classes, or which row has which tag.

    separators: as in `Place.tags`. Two rows of the same tags are rare, so their cells would be classes of one row.
    Shapes: -> (N,) or (N, C) each
    """
    return [
        spread(f"column {name}", column, [apart(cell, separators[name]) for cell in column.classes])[0]
        if name in separators
        else column.values
        for name, column in labels.items()
        if column.classes is not None
    ]
