"""What a shell tells and wants to hear: bash a line and ready-made insertions, zsh words and words."""

import re
from typing import NamedTuple

from mtl_cli.cli.completion.answer import answer
from mtl_cli.cli.completion.candidates import Candidate


class Line(NamedTuple):
    """A command line up to the cursor, taken apart.

    words: what is whole, unquoted. word: the last one, as far as it goes, unquoted.
    kept:  of its text as typed, what bash leaves in place of and wants to hear again: all behind the last break.
    quote: the quote that is open at the cursor, or nothing.
    """

    words: list[str]
    word: str
    kept: str
    quote: str


def zsh(words: list[str]) -> list[str]:
    """For each candidate: whole or part, the word, a line about it; tabs between them."""
    found = answer(words[:-1], words[-1])
    lines = [f"{'whole' if c.whole else 'part'}\t{c.text}\t{c.about}" for c in found.candidates if _sayable(c)]
    return lines or ([f"note\t\t{found.note}"] if found.note else [])


def bash(line: str, breaks: str) -> list[str]:
    """What takes the place of the last word from its last break on; bash adds no space (`-o nospace`)."""
    told = split(line, breaks)
    candidates = answer(told.words[1:], told.word).candidates
    rests = [(c.text[len(told.word) :], c.whole) for c in candidates if _sayable(c)]
    end = "" if told.quote else " "
    return [f"{told.kept}{escaped(rest, told.quote)}{end if whole else ''}" for rest, whole in rests]


def split(line: str, breaks: str) -> Line:
    """Takes a line apart as bash does; what stands before the command (X=1 mtl ...) is left out."""
    words: list[str] = []
    word, kept, quote, begun = "", "", "", False
    before = ""  # what was kept when the open quote began
    for raw, plain in _characters(line):
        if not quote and raw.isspace():
            if begun:
                words.append(word)
            word, kept, begun = "", "", False
            continue
        begun = True
        word += plain
        if raw in ("'", '"') and not plain:
            before, kept = ("", f"{before}{raw}{kept}{raw}") if quote else (kept, "")
            quote = "" if quote else raw
        elif not quote and len(raw) == 1 and raw in breaks:
            kept = ""
        else:
            kept += raw
    while words and re.match(r"\w+=", words[0]):
        words.pop(0)
    return Line(words, word, kept, quote)


def _characters(line: str) -> list[tuple[str, str]]:
    """Each character as it is typed, and what it means; a quote that opens or closes means nothing."""
    found: list[tuple[str, str]] = []
    quote = ""
    at = 0
    while at < len(line):
        raw = line[at]
        escapes = '"\\$`' if quote == '"' else line[at + 1 : at + 2]
        if raw == "\\" and quote != "'" and line[at + 1 : at + 2] and line[at + 1] in escapes:
            raw = line[at : at + 2]
            found.append((raw, raw[1]))
        elif raw in (quote or "'\""):
            quote = "" if quote else raw
            found.append((raw, ""))
        else:
            found.append((raw, raw))
        at += len(raw)
    return found


def escaped(text: str, quote: str) -> str:
    """`text` as it stands within `quote`; brackets stay, as lists are typed with them."""
    if quote == "'":
        return text.replace("'", "'\\''")
    return re.sub(r'(["\\$`])' if quote else r"""([\s"'\\$`!#&()*;<>?^{|}])""", r"\\\1", text)


def _sayable(candidate: Candidate) -> bool:
    return candidate.text.isprintable()
