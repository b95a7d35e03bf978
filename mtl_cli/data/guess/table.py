"""A table file as a task set: which columns are targets, which are inputs, which are left out, and why."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtl_cli.data.guess.column import facts
from mtl_cli.data.guess.layout import Guess, guess
from mtl_cli.data.guess.role import Kind, Role, percent, role
from mtl_cli.data.table.read import read
from mtl_cli.options import ConfigError, nearest

MOST = 8
"""More columns than this that look like targets are no targets, unless they are asked for."""
SPLIT = frozenset({"train", "val", "test"})
LISTED = 12


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


def look(path: Path, name: str, wanted: Sequence[str] | None, empty: frozenset[str]) -> TableGuess:
    """Reads a table and guesses.

    Args:
        path: of the file; `name` is what messages call it.
        wanted: the targets, where they are told.
        empty: what is written in empty cells.
    Raises: ConfigError: it cannot be read, a target is not there or is none, or no input is left.
    """
    written = guess(path, name)
    table = read(path, name, written.layout)
    roles = [role(facts(column, table.column(column), empty)) for column in table.schema.names]
    split = next((its for its in roles if _splits(its) and its.facts.name not in (wanted or ())), None)
    others = [its for its in roles if its is not split]
    targets, why = _told(others, wanted, name) if wanted is not None else _guessed(others, name)
    chosen = [its.facts.name for its, _ in targets]
    rest = [its for its in others if its.facts.name not in chosen]
    inputs = tuple(its for its in rest if its.use)
    if not inputs:
        raise ConfigError(
            f"{name} has no column left that can be an input: name the targets with --targets, so that the others are"
        )
    candidates = tuple(its for its in rest if its.kind)
    left = tuple(its for its in rest if not its.use)
    return TableGuess(table.num_rows, written, split, tuple(targets), candidates, inputs, left, why)


def _splits(its: Role) -> bool:
    words = set(its.facts.counts)
    return its.facts.is_ == "words" and not its.facts.missing and {"train", "test"} <= words <= SPLIT


def _told(roles: Sequence[Role], wanted: Sequence[str], name: str) -> tuple[list[tuple[Role, Kind]], str]:
    by_name = {its.facts.name: its for its in roles}
    targets = []
    for column in dict.fromkeys(wanted):
        if column not in by_name:
            raise ConfigError(f"--targets: {name} has no column {column!r}: {_offered(column, list(by_name))}")
        targets.append((by_name[column], _kind(by_name[column], name)))
    return targets, "named with --targets"


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


def _guessed(roles: Sequence[Role], name: str) -> tuple[list[tuple[Role, Kind]], str]:
    """Columns with empty cells, else whole numbers and words of few values. Raises: ConfigError: there is none."""
    possible = [(its, its.kind) for its in roles if its.kind]
    partial = [(its, kind) for its, kind in possible if its.facts.partial]
    if partial and any(its.use for its in roles if its not in [its for its, _ in partial]):
        return partial, "guessed, as some of its cells are empty"
    likely = [(its, kind) for its, kind in possible if its.likely]
    inputs = [its for its in roles if its.use]
    if likely and len(likely) <= MOST and len(inputs) > len(likely):
        return likely, "guessed, as it has few values"
    last = next((pair for pair in reversed(likely or possible)), None)
    if last is None:
        raise ConfigError(f"{name} has no column that looks like a target: name some with --targets a,b")
    return [last], "guessed, as it is the last one that could be a target"


def missing(its: Role) -> str:
    """How many cells are empty, in words; nothing where none is."""
    count = its.facts.missing
    return f"{count:,} of {its.facts.rows:,} cells empty ({percent(count, its.facts.rows)})" if count else ""


def _offered(column: str, known: list[str]) -> str:
    offer = nearest(column, known)
    if offer.startswith("choose") and len(known) > LISTED:
        return f"it has {', '.join(known[:LISTED])} and {len(known) - LISTED} more"
    return offer
