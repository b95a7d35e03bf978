"""What each backbone of the table is tested on: images, or rows of a table with categories."""

import torch
from torch import Tensor

from mtl_cli.data.base import InputSpec

IMAGES = InputSpec((3, 32, 32))
ROWS = InputSpec((6,), (4, 3))
"""Four numbers, and two categories of four and three codes."""
TABULAR = ("ft_transformer",)


def given(name: str) -> InputSpec:
    """What that backbone takes."""
    return ROWS if name in TABULAR else IMAGES


def inputs(spec: InputSpec, rows: int = 2) -> Tensor:
    """Prepared samples, the same each time."""
    draw = torch.Generator().manual_seed(1)
    found = torch.randn(rows, *spec.shape, generator=draw)
    for column, codes in zip(range(-len(spec.categories), 0), spec.categories, strict=True):
        found[:, column] = torch.randint(codes, (rows,), generator=draw).float()
    return found
