"""Names as a configuration takes them: of tasks, and of columns as YAML."""

import re
import unicodedata
from collections.abc import Iterable

RESERVED = frozenset({"mean", "worst"})
WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf", "y", "n"})
"""What YAML takes for something else than text."""
PLAIN = re.compile(r"[^\W\d_][\w-]*( [\w-]+)*")


def task_names(columns: Iterable[str], otherwise: str = "target") -> dict[str, str]:
    """A usable name for each column: letters, digits, _ and -, none of them twice."""
    found: dict[str, str] = {}
    for column in columns:
        name = usable(column, otherwise)
        name = f"{name}_label" if name.lower() in RESERVED else name
        taken = {other.casefold() for other in found.values()}
        number = 2
        whole = name
        while whole.casefold() in taken:
            whole, number = f"{name}_{number}", number + 1
        found[column] = whole
    return found


def usable(text: str, otherwise: str) -> str:
    """Accents taken off letters, everything that is no letter or digit an underscore."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.sub(r"[^\w-]+", "_", bare).strip("_-") or otherwise


def quoted(text: str) -> str:
    """`text` as one YAML scalar, also between brackets: plain where it means nothing else, else in double quotes."""
    if PLAIN.fullmatch(text) and text.lower() not in WORDS and text.isprintable():
        return text
    escaped = (
        c if c.isprintable() and c not in '"\\' else f"\\{c}" if c in '"\\' else f"\\U{ord(c):08x}" for c in text
    )
    return f'"{"".join(escaped)}"'
