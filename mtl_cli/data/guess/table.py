"""A table file as a task set: which columns are targets, which are inputs, which are left out, and why."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtl_cli.data.guess.column import facts
from mtl_cli.data.guess.layout import Guess, guess
from mtl_cli.data.guess.role import Kind, Role, percent, role
from mtl_cli.data.table.read import read
from mtl_cli.data.table.rows import offered
from mtl_cli.options import ConfigError

MOST = 8
"""More columns than this that look like targets are no targets, unless they are asked for."""
SPLIT = frozenset({"train", "val", "test"})


class TableGuess(NamedTuple):
    """What is made of a table.

    split: the column that says train, val or test. targets: each with its kind. candidates: what might be targets too.
    inputs, left: the other columns, with what they are used for or not.
    """

    rows: int
    layout: Guess
    split: Role | None
    targets: tuple[tuple[Role, Kind], ...]
    candidates: tuple[Role, ...]
    inputs: tuple[Role, ...]
    left: tuple[Role, ...]
    why: str


class Looked(NamedTuple):
    """A table that was read: its rows, how it is written, and what each column may be."""

    name: str
    rows: int
    layout: Guess
    roles: tuple[Role, ...]


def look(path: Path, name: str, empty: frozenset[str]) -> Looked:
    """Reads a table; `name` is what messages call it, `empty` what is written in empty cells.

    Raises: ConfigError: it cannot be read.
    """
    written = guess(path, name)
    table = read(path, name, written.layout)
    roles = tuple(role(facts(column, table.column(column), empty)) for column in table.schema.names)
    return Looked(name, table.num_rows, written, roles)


def choose(looked: Looked, wanted: Sequence[str] | None, needs_input: bool = True) -> TableGuess:
    """Targets and inputs; `wanted` are the targets, where they are told. Without `needs_input`, images are the input.

    Raises: ConfigError: a target is not there or is none, or no input is left.
    """
    name, roles = looked.name, looked.roles
    split = next((its for its in roles if _splits(its) and its.facts.name not in (wanted or ())), None)
    others = [its for its in roles if its is not split]
    if wanted is not None:
        targets, why = _told(others, wanted, name), "named with --targets"
    else:
        targets, why = _guessed(others, name, needs_input)
    chosen = [its.facts.name for its, _ in targets]
    rest = [its for its in others if its.facts.name not in chosen]
    inputs = tuple(its for its in rest if its.use and needs_input)
    if needs_input and not inputs:
        raise ConfigError(
            f"{name} has no column left that can be an input: name the targets with --targets, so that the others are"
        )
    candidates = tuple(its for its in rest if its.kind)
    left = tuple(its for its in rest if not its.use)
    return TableGuess(looked.rows, looked.layout, split, tuple(targets), candidates, inputs, left, why)


def _splits(its: Role) -> bool:
    words = set(its.facts.counts)
    return its.facts.is_ == "words" and not its.facts.missing and {"train", "test"} <= words <= SPLIT


def _told(roles: Sequence[Role], wanted: Sequence[str], name: str) -> list[tuple[Role, Kind]]:
    by_name = {its.facts.name: its for its in roles}
    targets = []
    for column in dict.fromkeys(wanted):
        if column not in by_name:
            raise ConfigError(f"--targets: {name} has no column {column!r}: {offered(column, list(by_name))}")
        targets.append((by_name[column], _kind(by_name[column], name)))
    return targets


def _kind(its: Role, name: str) -> Kind:
    """As a target that was asked for. Raises: ConfigError: it can be none."""
    if its.kind:
        return its.kind
    column, distinct = its.facts, len(its.facts.counts)
    if column.is_ == "numbers" and distinct > 1:
        return "regression"
    if column.is_ == "words" and distinct > 1 and distinct < column.there and its.use:
        return "classification"
    way_out = "name another one" if distinct != 1 else "it should have two values or more"
    raise ConfigError(f"--targets: {name}, column {column.name}: {its.why}: {way_out}")


def _guessed(roles: Sequence[Role], name: str, needs_input: bool) -> tuple[list[tuple[Role, Kind]], str]:
    """Columns with empty cells, else whole numbers and words of few values. Raises: ConfigError: there is none."""
    possible = [(its, its.kind) for its in roles if its.kind]
    partial = [(its, kind) for its, kind in possible if its.facts.partial]
    rest = [its for its in roles if its.use and its not in [its for its, _ in partial]]
    if partial and (rest or not needs_input):
        return partial, "guessed, as some of its cells are empty"
    likely = [(its, kind) for its, kind in possible if its.likely]
    inputs = [its for its in roles if its.use]
    if likely and len(likely) <= MOST and (len(inputs) > len(likely) or not needs_input):
        return likely, "guessed, as it has few values"
    last = next((pair for pair in reversed(likely or possible)), None)
    if last is None:
        raise ConfigError(f"{name} has no column that looks like a target: name some with --targets a,b")
    return [last], "guessed, as it is the last one that could be a target"


def missing(its: Role) -> str:
    """How many cells are empty, in words; nothing where none is."""
    count = its.facts.missing
    return f"{count:,} of {its.facts.rows:,} cells empty ({percent(count, its.facts.rows)})" if count else ""
