"""How a table's columns become numbers: what is read off train for each, kept with a checkpoint."""

from msgspec import Struct


class NumberCode(Struct, frozen=True):
    """A column of numbers: standardised by train, an empty cell is the mean.

    indicator: whether train had empty cells, so that one more number, 0 or 1, tells which they are.
    """

    name: str
    mean: float
    std: float
    indicator: bool

    @property
    def width(self) -> int:
        """Numbers that it becomes."""
        return 1 + self.indicator


class DateCode(Struct, frozen=True):
    """A column of dates, in days since 1970: standardised, with its place in the year and in the week on circles.

    clock: whether train had times of day, whose place in the day is told as well. indicator: as of a number.
    """

    name: str
    mean: float
    std: float
    clock: bool
    indicator: bool

    @property
    def width(self) -> int:
        """Numbers that it becomes."""
        return 5 + 2 * self.clock + self.indicator


class CategoryCode(Struct, frozen=True):
    """A column of words: code 0 is a word that train did not have, or had too rarely; i + 1 is `words[i]`.

    missing: whether train had empty cells often enough for a code of their own, the last one; else they are unknown.
    """

    name: str
    words: tuple[str, ...]
    missing: bool

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return 1 + len(self.words) + self.missing

    @property
    def empty(self) -> int:
        """The code of an empty cell."""
        return len(self.words) + 1 if self.missing else 0


class Encoding(Struct, frozen=True):
    """All input columns of a table, in the order in which their numbers stand: numbers, dates, categories' codes."""

    numbers: tuple[NumberCode, ...]
    dates: tuple[DateCode, ...]
    categories: tuple[CategoryCode, ...]

    @property
    def width(self) -> int:
        """Numbers for each row."""
        return sum(n.width for n in self.numbers) + sum(d.width for d in self.dates) + len(self.categories)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """How many codes each of the last columns has."""
        return tuple(code.codes for code in self.categories)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the table."""
        return (*(n.name for n in self.numbers), *(d.name for d in self.dates), *(c.name for c in self.categories))

    @property
    def columns(self) -> tuple[set[str], set[str], set[str]]:
        """The same by what they hold: numbers, dates, words."""
        return {n.name for n in self.numbers}, {d.name for d in self.dates}, {c.name for c in self.categories}
