"""What a column may be: a target of some kind, an input, or neither, and why."""

import re
from pathlib import PurePath
from typing import Literal, NamedTuple

from mtl_cli.data.guess.column import Facts
from mtl_cli.data.suffixes import SUFFIXES

Kind = Literal["binary", "classification", "multilabel", "regression"]
Use = Literal["numbers", "categories", "dates"]

FEW = 20
"""Whole numbers of at most so many values look like classes."""
CLASSES = 100
"""Words of more values than this look like no classes, unless they are asked for."""
TAGS = 200
SEPARATORS = ",;|"
NO_TAG = frozenset({"none", "no", "nothing", "keine", "aucun", "-"})
"""Words that say that there is no tag, where they never stand beside one."""
LONG = 40
"""Characters of a word, on average, from which it is a text."""
FLOAT32 = 3.4e38
IDENTIFIER = re.compile(r"(.*[_\W])?(id|uuid|guid|key|index|idx|nr|no|number)|.*Id|ID|Unnamed: \d+|", re.ASCII)


class Role(NamedTuple):
    """What a column may be.

    kind: as a target; None: of no use as one. use: as an input; None: of none. why: what was seen, in words.
    likely: whether it looks like a target where no cell says so by being empty. path: whether its cells are paths of
    images. separator, no_tag: of lists of tags, what stands between two, and the cell that says that there is none.
    """

    facts: Facts
    kind: Kind | None
    use: Use | None
    why: str
    likely: bool = False
    separator: str = ","
    no_tag: str | None = None
    path: bool = False


def role(facts: Facts) -> Role:
    """Guesses."""
    none = _useless(facts)
    if none:
        return Role(facts, None, None, none)
    if facts.is_ == "numbers":
        return _numbers(facts)
    if facts.is_ == "dates":
        first, last = min(facts.counts)[:10], max(facts.counts)[:10]
        return Role(facts, None, "dates", f"dates {first} to {last}")
    return _words(facts)


def _useless(facts: Facts) -> str:
    """Why a column is neither input nor target; nothing where it may be one."""
    said = {
        "empty": "every cell is empty",
        "nested": "its cells are no numbers, words or dates",
        "decimal commas": "numbers with a decimal comma, which are not read: write 1.5",
        "other dates": "looks like dates, of which only 2024-05-31 is read",
        "infinite": "it has infinite numbers: mend them",
    }
    if facts.is_ in said:
        return said[facts.is_]
    if "${" in facts.name or facts.name == "???" or not facts.name.isprintable():
        return "its name means something else in a YAML: give it another one"
    if len(facts.counts) == 1 and not facts.missing:
        return f"constant: every cell is {cut(next(iter(facts.counts)))}"
    return ""


def _numbers(facts: Facts) -> Role:
    values = facts.values
    distinct = len(values)
    seen = f"numbers {values[0]:g} to {values[-1]:g}, mean {facts.mean:.4g}"
    if facts.whole and distinct == facts.there and distinct > FEW:
        dense = values[-1] - values[0] < 1.1 * distinct
        if dense or IDENTIFIER.fullmatch(facts.name):
            return Role(facts, None, None, f"all {distinct:,} values are different: an identifier")
    if distinct == 1:
        return Role(facts, None, "numbers", f"{seen}, or empty")
    kind: Kind | None = "regression" if max(map(abs, values)) < FLOAT32 else None
    few = facts.whole and distinct <= FEW and 2 * distinct <= facts.there
    if few:
        kind = "binary" if distinct == 2 else "classification"
        seen = f"{distinct} whole numbers: {balance(facts)}"
    return Role(facts, kind, "numbers", seen, likely=few)


def _words(facts: Facts) -> Role:
    distinct = len(facts.counts)
    long = sum(len(word) * count for word, count in facts.counts.items()) / facts.there > LONG
    if all(PurePath(word).suffix.lower() in SUFFIXES for word in facts.counts):
        return Role(facts, None, None, f"paths of images, as {cut(next(iter(facts.counts)))}", path=True)
    separator, tags = tags_of(facts)
    if tags:
        most = sorted(tags.items(), key=lambda item: -item[1])
        no_tag = next((tag for tag in tags if tag.lower() in NO_TAG and facts.counts.get(tag) == tags[tag]), None)
        told = ", ".join(f"{cut(tag)} {percent(count, facts.there)}" for tag, count in most[:4] if tag != no_tag)
        use: Use | None = "categories" if 2 * distinct <= facts.there else None
        why = f"lists of {len(tags) - (no_tag is not None):,} tags: {told}"
        return Role(facts, "multilabel", use, why, likely=True, separator=separator, no_tag=no_tag)
    each_its_own = _each_its_own(facts, long)
    if each_its_own:
        return Role(facts, None, None, each_its_own)
    seen = f"{distinct:,} words: {balance(facts)}"
    if distinct == 1:
        return Role(facts, None, "categories", f"{seen}, or empty")
    kind: Kind | None = None if distinct > CLASSES else "binary" if distinct == 2 else "classification"
    return Role(facts, kind, "categories", seen, likely=distinct <= FEW)


def _each_its_own(facts: Facts, long: bool) -> str:
    """Why words tell nothing of other rows; nothing where they do."""
    distinct = len(facts.counts)
    if distinct == facts.there and distinct > 2:
        what = "free text" if long or any(" " in word for word in facts.counts) else "an identifier"
        return f"all {distinct:,} values are different: {what}"
    if long and distinct > CLASSES:
        return f"free text, {distinct:,} different ones"
    if 2 * distinct > facts.there and distinct > FEW:
        return f"{distinct:,} words in {facts.there:,} cells: nearly all are different"
    return ""


def tags_of(facts: Facts) -> tuple[str, dict[str, int]]:
    """What stands between tags, and how many cells have each, where cells look like lists of them; else nothing."""
    for separator in SEPARATORS:
        if facts.is_ == "words" and any(separator in word for word in facts.counts):
            found = _tags(facts, separator)
            several = sum(count for word, count in facts.counts.items() if separator in word)
            stand = sum(len(_split(word, separator)) for word in facts.counts)  # tags of all distinct cells
            often = sum(found.values()) >= 3 * len(found) and 2 * stand >= 3 * len(found)
            if 2 <= len(found) <= TAGS and often and 20 * several >= facts.there:
                return separator, found
    return ",", {}


def _tags(facts: Facts, separator: str) -> dict[str, int]:
    """How many cells have each tag; nothing where a cell has none."""
    found: dict[str, int] = {}
    for word, count in facts.counts.items():
        tags = _split(word, separator)
        if not tags:
            return {}
        for tag in tags:
            found[tag] = found.get(tag, 0) + count
    return found


def _split(word: str, separator: str) -> set[str]:
    return {tag.strip() for tag in word.split(separator)} - {""}


def balance(facts: Facts, most: int = 3) -> str:
    """The most frequent cells with their shares."""
    told = [f"{cut(word)} {percent(count, facts.there)}" for word, count in list(facts.counts.items())[:most]]
    return ", ".join([*told, *(["..."] if len(facts.counts) > most else [])])


def percent(count: int, of: int) -> str:
    """A share in words."""
    return f"{100 * count / max(of, 1):.1f} %"


def cut(word: str, room: int = 20) -> str:
    """A cell on one line, cut where it gets long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in word).split())
    return line if len(line) <= room else f"{line[: room - 3]}..."
