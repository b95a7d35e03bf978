"""From a table's columns to the numbers that a model takes, by what was read off train."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column, Frame
from mtl_cli.data.table.code import CategoryCode, DateCode, Encoding, NumberCode

FARTHEST = 1e4
"""Standard deviations from the mean beyond which a number is held, so that one cell cannot make a step infinite."""
CIRCLES = (365.2425, 7.0)
"""Days in a year and in a week."""


def fit_encoding(frame: Frame, rare: int) -> Encoding:
    """Reads off train how its columns become numbers.

    Args:
        frame: the rows of train.
        rare: a word that fewer rows have is an unknown one, so that its embedding is learned.
    """
    return Encoding(
        tuple(_number(name, values) for name, values in frame.numbers.items()),
        tuple(_date(name, values) for name, values in frame.dates.items()),
        tuple(_category(name, column, rare) for name, column in frame.categories.items()),
    )


def joined(frames: Sequence[Frame]) -> Frame:
    """The rows of several tables with the same columns, one after the other."""
    first = frames[0]
    if len(frames) == 1:
        return first
    return Frame(
        {name: torch.cat([frame.numbers[name] for frame in frames]) for name in first.numbers},
        {name: torch.cat([frame.dates[name] for frame in frames]) for name in first.dates},
        {name: joined_words([frame.categories[name] for frame in frames]) for name in first.categories},
        sum(map(len, frames)),
    )


def joined_words(columns: Sequence[Column]) -> Column:
    """Columns of words, one after the other, with one list of words."""
    words = tuple(dict.fromkeys(word for column in columns for word in column.classes or ()))
    code = CategoryCode("", words, missing=False)
    values = [torch.where(c.values == MISSING, MISSING, category_codes(c, code) - 1) for c in columns]
    return Column(torch.cat(values), words)


def encode(frame: Frame, encoding: Encoding) -> Tensor:
    """A row of numbers for each row of the table, in the encoding's order. Shapes: -> (N, width) float32"""
    pieces = [number_features(frame.numbers[code.name], code) for code in encoding.numbers]
    pieces += [date_features(frame.dates[code.name], code) for code in encoding.dates]
    pieces += [category_codes(frame.categories[code.name], code)[:, None].float() for code in encoding.categories]
    return torch.cat(pieces, dim=1) if pieces else torch.zeros(len(frame), 0)


def number_features(values: Tensor, code: NumberCode) -> Tensor:
    """(x - mean) / std, held within +-FARTHEST, 0 where there is none; then 1 where there is none.

    Plain tensor operations, as a shipped model runs them too.

    Shapes: values (B,) float64, NaN where there is none -> (B, code.width) float32
    """
    missing = values.isnan()
    z = _standard(values, code.mean, code.std)
    pieces = [torch.where(missing, 0.0, z)]
    if code.indicator:
        pieces.append(missing.double())
    return torch.stack(pieces, dim=1).float()


def date_features(days: Tensor, code: DateCode) -> Tensor:
    """Standardised days; sine and cosine of the place in the year, the week and, with a clock, the day.

    Shapes: days (B,) float64 since 1970-01-01, NaN where there is none -> (B, code.width) float32
    """
    missing = days.isnan()
    pieces = [_standard(days, code.mean, code.std)]
    for length in (*CIRCLES, *([1.0] if code.clock else [])):
        whole, turn = _like(days, length), _like(days, 2 * math.pi / length)
        place = torch.remainder(days if length < CIRCLES[1] else days.floor(), whole) * turn
        pieces += [place.sin(), place.cos()]
    pieces = [torch.where(missing, 0.0, piece) for piece in pieces]
    if code.indicator:
        pieces.append(missing.double())
    return torch.stack(pieces, dim=1).float()


def category_codes(column: Column, code: CategoryCode) -> Tensor:
    """Codes of a column's words. Shapes: -> (N,) int64"""
    place = {word: i + 1 for i, word in enumerate(code.words)}
    table = torch.tensor([*(place.get(word, 0) for word in column.classes or ()), code.empty])
    return table[torch.where(column.values == MISSING, len(table) - 1, column.values.long())]


def _standard(values: Tensor, mean: float, std: float) -> Tensor:
    return ((values - _like(values, mean)) / _like(values, std)).clamp(-FARTHEST, FARTHEST)


def _like(values: Tensor, number: float) -> Tensor:
    """A number with all its digits, where a graph's export would round a plain one to float32."""
    return torch.tensor(number, dtype=values.dtype, device=values.device)


def _number(name: str, values: Tensor) -> NumberCode:
    return NumberCode(name, *_moments(values), bool(values.isnan().any()))


def _date(name: str, days: Tensor) -> DateCode:
    there = days[~days.isnan()]
    return DateCode(name, *_moments(days), bool((there != there.floor()).any()), len(there) < len(days))


def _moments(values: Tensor) -> tuple[float, float]:
    """Mean and deviation of what is there; scaled first, as squares of large numbers overflow. 1 for no deviation."""
    there = values[~values.isnan()]
    scale = float(there.abs().max()) if len(there) else 0.0
    if scale == 0.0:
        return 0.0, 1.0
    mean, std = float((there / scale).mean()) * scale, float((there / scale).std(correction=0)) * scale
    return mean, std if std > 1e-12 * scale else 1.0


def _category(name: str, column: Column, rare: int) -> CategoryCode:
    classes = column.classes or ()
    counts = Counter(column.values.tolist())
    words = tuple(word for i, word in enumerate(classes) if counts[i] >= max(rare, 1))
    return CategoryCode(name, words, counts[MISSING] >= max(rare, 1))
