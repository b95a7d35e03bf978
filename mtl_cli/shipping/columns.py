"""A table's columns as a shipped model takes them: numbers and days as they are, words by their codes."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.data.base import MISSING, Column, Frame
from mtl_cli.data.table.code import CategoryCode, DateCode, Encoding, NumberCode
from mtl_cli.data.table.encoding import category_codes, date_features, number_features

OUTPUTS = ("logits", "probabilities", "value")
UNSAFE = "\"'\\`{}[]"
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""A word that no column has, but for one whose words hold it."""
EMPTY = 0.25
"""The share of empty cells among those made up."""


class Said(NamedTuple):
    """How a file says its inputs.

    words: whether it takes them as text; else by their codes, which one looks up: i + 1 is `words[i]`.
    empty: column -> what is written in its empty cells, beside nothing at all.
    resize: in which way an image was brought to its size, as the source's option says it.
    """

    words: bool = False
    empty: Mapping[str, Collection[str]] = MappingProxyType({})
    resize: str = "stretch"


PLAIN = Said()


class Columns(nn.Module):
    """Raw columns to the row of numbers that `encode` makes of them in training.

    Args:
        encoding: as read off train.
        names: column -> input.
    Shapes: by input: numbers and days since 1970-01-01 (B,) float64, NaN for an empty cell; codes (B,) int64 -> (B,
        encoding.width) float32
    """

    def __init__(self, encoding: Encoding, names: Mapping[str, str]) -> None:
        super().__init__()
        self._encoding = encoding
        self._names = dict(names)

    def forward(self, columns: dict[str, Tensor]) -> Tensor:
        """In the encoding's order."""
        found = {column: columns[name] for column, name in self._names.items()}
        pieces = [number_features(found[code.name], code) for code in self._encoding.numbers]
        pieces += [date_features(found[code.name], code) for code in self._encoding.dates]
        pieces += [found[code.name][:, None].float() for code in self._encoding.categories]
        return torch.cat(pieces, dim=1)


def input_names(encoding: Encoding, tasks: Sequence[str]) -> dict[str, str]:
    """Column -> its input's name: the same, but for UNSAFE characters, and where an output has that name.

    torch.export writes names into code that it runs, so that none may end a string in it.
    """
    taken = {"", *(f"{task}.{what}" for task in tasks for what in OUTPUTS)}
    names: dict[str, str] = {}
    for column in encoding.names:
        name = "".join("_" if letter in UNSAFE or not letter.isprintable() else letter for letter in column)
        while name in taken or (name != column and name in encoding.names):
            name += "_"
        taken.add(name)
        names[column] = name
    return names


def given_columns(frame: Frame, encoding: Encoding, names: Mapping[str, str]) -> dict[str, Tensor]:
    """A table's rows by the names of inputs, words by their codes."""
    codes = {code.name: category_codes(frame.categories[code.name], code) for code in encoding.categories}
    return {name: (frame.numbers | frame.dates | codes)[column] for column, name in names.items()}


def described(encoding: Encoding, names: Mapping[str, str], said: Said) -> list[dict[str, object]]:
    """What a file says of its inputs, in their order."""
    codes: list[NumberCode | DateCode | CategoryCode] = [*encoding.numbers, *encoding.dates, *encoding.categories]
    return [
        {"name": names[code.name], "column": code.name, "kind": _kind(code), **_taken(code, said)} for code in codes
    ]


def made_up(encoding: Encoding, rows: int, generator: torch.Generator) -> Frame:
    """Rows with what a table may hold: empty cells, numbers far off, unknown words."""

    def numbers(mean: float, std: float) -> Tensor:
        far = 10 ** (3 * torch.rand(rows, generator=generator, dtype=torch.float64))
        values = mean + std * far * torch.randn(rows, generator=generator, dtype=torch.float64)
        return torch.where(torch.rand(rows, generator=generator) < EMPTY, torch.nan, values)

    def words(code: CategoryCode) -> Column:
        classes = (*code.words, unknown(code.words))
        values = torch.randint(len(classes), (rows,), generator=generator)
        return Column(torch.where(torch.rand(rows, generator=generator) < EMPTY, MISSING, values), classes)

    return Frame(
        {code.name: numbers(code.mean, code.std) for code in encoding.numbers},
        {code.name: numbers(code.mean, code.std) for code in encoding.dates},
        {code.name: words(code) for code in encoding.categories},
        rows,
    )


def unknown(words: Sequence[str]) -> str:
    """A word that is none of these."""
    found = UNKNOWN
    while found in words:
        found += UNKNOWN
    return found


def _kind(code: NumberCode | DateCode | CategoryCode) -> str:
    return {NumberCode: "number", DateCode: "date", CategoryCode: "category"}[type(code)]


def _taken(code: NumberCode | DateCode | CategoryCode, said: Said) -> dict[str, object]:
    """Type and unit of a column, and what stands for an empty cell."""
    if isinstance(code, CategoryCode):
        empty = sorted({"", *said.empty.get(code.name, ())} - {*code.words})
        return {
            "dtype": "string" if said.words else "int64",
            "words": list(code.words),
            "unknown": unknown((*code.words, *empty)) if said.words else 0,
            "empty": "" if said.words else code.empty,
            "empty_words": empty,
        }
    unit = "days since 1970-01-01" if isinstance(code, DateCode) else "the column's own"
    return {"dtype": "float64", "unit": unit, "empty": "NaN"}
