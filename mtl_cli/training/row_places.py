"""Where the rows of a step are written, and each parameter in them."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_cli.contracts import Column


class RowPlaces:
    """Keeps the memory that rows are written to from step to step: a system takes long to give that much anew."""

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}

    def take(self, piece: int, tasks: int, width: int, like: Tensor) -> Tensor:
        """Where one independent part's rows may be written; what was in it is lost. Shapes: (T, P)"""
        kept = self._kept.get(piece)
        if kept is None or len(kept) < tasks * width or kept.dtype != like.dtype or kept.device != like.device:
            self._kept.pop(piece, None)
            kept = None  # so that there are never two
            kept = self._kept[piece] = like.detach().new_empty(tasks * width)
        return kept[: tasks * width].view(tasks, width)


def columns_of(parameters: dict[str, nn.Parameter], names: Sequence[str]) -> tuple[Column, ...]:
    """Where each of those parameters lies in a row."""
    columns, start = [], 0
    for name in names:
        columns.append(Column(name, start, parameters[name].shape))
        start = columns[-1].stop
    return tuple(columns)


def write(
    rows_TP: Tensor,
    tasks: Sequence[int],
    begun: Collection[int],
    places: Sequence[Column],
    found: Mapping[str, Tensor | None],
) -> None:
    """Writes gradients that several tasks' rows get together, in one go where these are all; adds to rows begun.

    Shapes: found, by parameters' names, (len(tasks), parameter's) each; those that are not there are zero
    """
    none = rows_TP.new_zeros(())
    parts = [(found.get(column.name), column.shape.numel()) for column in places]
    whole = [none.expand(len(tasks), size) if part is None else part.flatten(1) for part, size in parts]
    if not whole:
        return
    if len(tasks) == len(rows_TP) and not begun:
        torch.cat(whole, 1, out=rows_TP)
        return
    for t, row_P in zip(tasks, torch.cat(whole, 1), strict=True):
        if t in begun:
            rows_TP[t].add_(row_P)
        else:
            rows_TP[t].copy_(row_P)
