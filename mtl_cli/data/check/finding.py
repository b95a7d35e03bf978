"""What a look at a data set finds, and one split of a part as it is looked at."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor

from mtl_cli.data.base import RawPart
from mtl_cli.options import MOST_PLACES


class Finding(NamedTuple):
    """Something odd: an error where training would refuse it or its figures would be wrong, else a warning.

    places: where, a few of `total`.
    """

    error: bool
    line: str
    places: tuple[str, ...] = ()
    total: int = 0


class Piece(NamedTuple):
    """One split of a part, and where its rows come from."""

    data: RawPart
    where: Callable[[int], str]


Pieces = dict[str, Piece]
"""By split: train, perhaps heldout, val, test."""


def found(error: bool, line: str, places: Iterable[str], total: int) -> Finding:
    """A finding with the first few of its places."""
    return Finding(error, line, tuple(place for place, _ in zip(places, range(MOST_PLACES), strict=False)), total)


def at(piece: Piece, mask: Tensor) -> list[str]:
    """Where the first few rows of a mask (N,) come from."""
    return [piece.where(row) for row in mask.nonzero()[:MOST_PLACES, 0].tolist()]


def rows(count: int) -> str:
    """So many rows, in words."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def share(count: int, of: int) -> str:
    """`count` of `of` in percent."""
    percent = 100 * count / max(of, 1)
    return f"{percent:.1f} %" if percent >= 0.05 or count == 0 else "< 0.1 %"
