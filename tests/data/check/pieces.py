"""Splits made of a few lists."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column, Frame, RawPart
from mtl_cli.data.check.finding import Piece, Pieces


def frame(**columns: list[float] | list[str | None]) -> Frame:
    """Numbers where they are numbers, else words, None where a cell is empty."""
    numbers: dict[str, Tensor] = {}
    categories: dict[str, Column] = {}
    for name, cells in columns.items():
        if all(isinstance(cell, int | float) for cell in cells):
            numbers[name] = torch.tensor(cells, dtype=torch.float64)
        else:
            words = tuple(dict.fromkeys(str(cell) for cell in cells if cell is not None))
            codes = [MISSING if cell is None else words.index(str(cell)) for cell in cells]
            categories[name] = Column(torch.tensor(codes), words)
    return Frame(numbers, {}, categories, len(next(iter(columns.values()))))


def pieces(
    inputs: Mapping[str, Tensor | Frame], targets: Mapping[str, Mapping[str, list[float]]] | None = None
) -> Pieces:
    """By split; a row's place is its split and number, from 0."""

    def piece(split: str, data: Tensor | Frame) -> Piece:
        its = {
            task: torch.tensor(values, dtype=torch.long if all(isinstance(v, int) for v in values) else torch.float32)
            for task, values in (targets or {}).get(split, {}).items()
        }
        return Piece(RawPart(data, its, torch.arange(len(data))), lambda row: f"{split} {row}")

    return {split: piece(split, data) for split, data in inputs.items()}


def labelled(**splits: list[float]) -> Pieces:
    """One task, `t`, whose inputs are of no interest."""
    inputs = {split: torch.arange(len(values))[:, None] * 1.0 for split, values in splits.items()}
    return pieces(inputs, {split: {"t": values} for split, values in splits.items()})
