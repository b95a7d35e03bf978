"""One way in which a word may go on."""

from collections.abc import Iterable
from typing import NamedTuple


class Candidate(NamedTuple):
    """A word as it would stand on the command line, unquoted.

    whole: it is complete, so a space follows; else more is to be typed right behind it.
    """

    text: str
    whole: bool
    about: str = ""


class Answer(NamedTuple):
    """What a word may become; `note` says what to type where nothing can be offered."""

    candidates: list[Candidate]
    note: str = ""


def beginning(word: str, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that `word` is the beginning of, each once."""
    return list({c.text: c for c in candidates if c.text.startswith(word)}.values())
