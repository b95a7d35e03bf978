"""Label columns of tables."""

import pyarrow as pa
import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column, Reads
from mtl_cli.data.options import ImageTable, TableFile
from mtl_cli.data.table.cells import numbers, ordered, words
from mtl_cli.data.table.encoding import joined_words
from mtl_cli.data.table.frame import empty, refuse
from mtl_cli.options import ConfigError

LARGEST = torch.finfo(torch.float32).max
"""Labels are float32."""


def label(table: pa.Table, column: str, reads: Reads, option: TableFile | ImageTable, name: str) -> Column:
    """One label column of a file, as words or as numbers.

    Raises: ConfigError: a cell that is no number, or numbers that float32 would not tell apart.
    """
    cells, nothing = table.column(column), empty(option, column)
    if reads == "classes":
        return words(cells, nothing)
    found = numbers(cells, nothing)
    large = (found.values.abs() > LARGEST).nonzero()[:, 0].tolist()
    said = {i: f"{float(found.values[i]):g} is beyond what a float32 holds, as labels are" for i in large}
    wrong = said | found.wrong
    refuse({column: wrong} if wrong else {}, name, "let its task be of another kind")
    _told_apart(found.values, f"{name}, column {column}")
    return Column(found.values, None)


def joined_labels(columns: list[Column]) -> Column:
    """A label column of all files, one after the other, its words in their order."""
    if columns[0].classes is None:
        return Column(torch.cat([column.values for column in columns]), None)
    whole = joined_words(columns)
    classes = ordered(set(whole.classes or ()))
    place = {word: i for i, word in enumerate(classes)}
    table = torch.tensor([*(place[word] for word in whole.classes or ()), MISSING])
    return Column(table[torch.where(whole.values == MISSING, len(table) - 1, whole.values)], classes)


def _told_apart(values: Tensor, place: str) -> None:
    """Raises: ConfigError: float32, as labels are, loses a hundredth of their deviation or more."""
    there = values[~values.isnan()]
    if len(there) == 0:
        return
    lost, std = float((there.float().double() - there).abs().max()), float(there.std(correction=0))
    if lost > std / 100 > 0:
        raise ConfigError(
            f"{place}: labels of {float(there.mean()):g} +- {std:g} are too far from zero for their differences to be "
            "kept in float32: take a constant off them"
        )
