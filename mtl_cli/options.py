"""Closed tables of typed options: what a configuration may name, and how each name is checked.

Imports neither torch nor hydra, so that a configuration is checked before either is loaded.
"""

import difflib
import json
import math
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from mtl_cli.words import words

LONGEST = 60  # characters of a value that an error shows
MOST_PLACES = 5
"""Places that are named where one thing is wrong in many; the rest are counted."""

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Count = Annotated[int, Meta(ge=1)]
Index = Annotated[int, Meta(ge=0)]


class Option(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name"):
    """The typed parameters of one named choice; the first line of its docstring is its description."""


class ConfigError(Exception):
    """A mistake in what the user asked for; its text is the one line that the user reads."""


class DataError(ConfigError):
    """A mistake that stands in several places of the data: its text is about the first of them.

    Args:
        line: what the user reads.
        many: what all have in common, in words.
        places: each with what is wrong there, or the first few; at least one.
        total: how many there are.
    """

    def __init__(self, line: str, many: str, places: Iterable[str], total: int) -> None:
        super().__init__(line)
        self.many = many
        self.places = tuple(place for place, _ in zip(places, range(MOST_PLACES), strict=False))
        self.total = total


class JobError(Exception):
    """A job that failed for another reason; its text is the one line that the user reads."""


class SaidError(Exception):
    """A job that failed, of which all is said: only the exit code is left to give."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Interrupted(BaseException):  # as KeyboardInterrupt: no job's `except Exception` may catch it
    """A job that was told to stop, and has said so: 130 after Ctrl-C, 143 after SIGTERM."""

    def __init__(self, exit_code: int = 130) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def nearest(word: str, known: list[str]) -> str:
    """The clause that offers the nearest right name, or lists the few that there are."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"choose from {', '.join(sorted(known))}" if known else "there is none"


def text(value: Any) -> str:
    """`value` as one would type it, on one line, cut where it gets long."""
    plain = isinstance(value, str | float)
    line = " ".join(str(value).split()) if plain else json.dumps(value, default=str).replace('"', "")
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def shown(key: str, value: Any) -> str:
    """`key=value` as one would type it: a section with one entry is shown by what stands in it."""
    while isinstance(value, dict) and len(value) == 1:
        ((name, value),) = value.items()
        key = f"{key}.{name}"
    return f"{key}={text(value)}"


def tag(struct: type[Struct] | Struct) -> str:
    """The name that a configuration gives a struct by."""
    return str(struct.__struct_config__.tag)


class Table:
    """One room's names: each leads to the struct of its options and the class that is built from it.

    The class is given as "module:Class" and imported only when it is built.
    """

    def __init__(self, group: str, *lines: tuple[type[Struct], str]) -> None:
        self.group = group
        self._lines: dict[str, tuple[type[Struct], str]] = {}
        for struct, target in lines:
            self.add(struct, target)

    def add(self, struct: type[Struct], target: str) -> None:
        """Adds one line. Raises ValueError where the name is taken."""
        name = tag(struct)
        if name in self._lines:
            raise ValueError(f"{self.group} names should be unique. Found a second {name}.")
        self._lines[name] = (struct, target)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def struct(self, name: str) -> type[Struct]:
        """The struct of one name."""
        return self._lines[name][0]

    def target(self, option: Struct) -> Any:
        """Imports and returns the class that is built from `option`."""
        module, _, attribute = self._lines[tag(option)][1].partition(":")
        return vars(import_module(module))[attribute]

    @property
    def tag_field(self) -> str:
        """The key under which a section says its name."""
        return next((str(struct.__struct_config__.tag_field) for struct, _ in self._lines.values()), "name")

    def convert(self, value: Any, key: str) -> Any:
        """`value`, checked, as the struct that its tag names; `key` is what the user wrote it under.

        Raises ConfigError: one line with the key, the value found and the nearest right one.
        """
        field = self.tag_field
        if not isinstance(value, dict) or field not in value:
            raise ConfigError(f"{shown(key, value)} should say its {field}: {nearest('', list(self))}")
        name = value[field]
        if not isinstance(name, str) or name not in self._lines:
            raise ConfigError(f"{key}.{field}={text(name)} is not known: {nearest(text(name), list(self))}")
        return convert(value, self.struct(name), key)


def wrapped(struct: type[Struct]) -> dict[str, str]:
    """The fields of a struct that hold a choice of some group: Annotated[Option, Meta(extra={"group": group})]."""
    hints = get_type_hints(struct, include_extras=True)
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        for note in hint.__metadata__ if get_origin(hint) is Annotated else ():
            if isinstance(note, Meta) and note.extra is not None:
                found[field.name] = str(note.extra["group"])
    return found


def convert(value: dict[str, Any], struct: type[Struct], key: str) -> Any:
    """`value`, checked, as `struct`; errors name the full key, the value and the way out in one line."""
    fields = [f.encode_name for f in msgspec.structs.fields(struct)]
    known = [*fields, str(struct.__struct_config__.tag_field)]
    for name, found in value.items():
        if name not in known:
            path = f"{key}.{name}" if key else str(name)
            of = f"of {tag(struct)}" if struct.__struct_config__.tag else "here"
            raise ConfigError(f"{shown(path, found)} is not a key {of}: {nearest(str(name), fields)}")
    for name in fields:
        found = value.get(name, msgspec.UNSET)
        path = f"{key}.{name}" if key else name
        if found is msgspec.UNSET or found == "???":
            raise ConfigError(f"{path}=??? is missing: give it a value ({description(struct, name)})")
    hints = get_type_hints(struct, include_extras=True)
    return struct(**{name: _field(value[name], hints[name], f"{key}.{name}" if key else name) for name in fields})


def _field(value: Any, hint: Any, key: str) -> Any:
    parts = list(value.values()) if isinstance(value, dict) else [value]
    if parts and all(isinstance(part, Struct) for part in parts):
        return value
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(f"{key}={text(value)} is not valid: expected a finite number")
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        raise ConfigError(f"{shown(key, value)} is not valid: expected {words(hint)}") from None


def description(struct: type[Struct], field: str) -> str:
    """The line that describes one field, from its annotation."""
    meta = get_args(get_type_hints(struct, include_extras=True)[field])[1:]
    lines = [m.description for m in meta if isinstance(m, Meta) and m.description]
    return lines[-1] if lines else ""
