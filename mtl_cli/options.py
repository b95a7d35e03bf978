"""Closed tables of typed options: what a configuration may name, and how each name is checked.

Imports neither torch nor hydra, so that a configuration is checked before either is loaded.
"""

import difflib
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import Meta, Struct

O_co = TypeVar("O_co", bound=Struct, covariant=True)

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Count = Annotated[int, Meta(ge=1)]
Index = Annotated[int, Meta(ge=0)]


class Option(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name"):
    """The typed parameters of one named choice; the first line of its docstring is its description."""


class ConfigError(Exception):
    """A mistake in what the user asked for; its text is the one line that the user reads."""


def nearest(word: str, known: list[str]) -> str:
    """The clause that offers the nearest right name, or lists the few that there are."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"there is: {', '.join(sorted(known))}" if known else "there is none"


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
        name = str(struct.__struct_config__.tag)
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
        module, _, attribute = self._lines[str(option.__struct_config__.tag)][1].partition(":")
        return vars(import_module(module))[attribute]

    def convert(self, value: dict[str, Any], key: str) -> Any:
        """`value`, checked, as the struct that its tag names; `key` is what the user wrote it under.

        Raises ConfigError: one line with the key, the value found and the nearest right one.
        """
        tag_field = "name"
        for struct, _ in self._lines.values():
            tag_field = str(struct.__struct_config__.tag_field)
        name = value.get(tag_field)
        if name not in self._lines:
            raise ConfigError(f"{key}.{tag_field}={name} is not known: {nearest(str(name), list(self))}")
        return convert(value, self.struct(str(name)), key)


def convert(value: dict[str, Any], struct: type[Struct], key: str) -> Any:
    """`value`, checked, as `struct`; errors name the full key, the value and the way out in one line."""
    fields = [f.encode_name for f in msgspec.structs.fields(struct)]
    known = [*fields, str(struct.__struct_config__.tag_field)]
    for name in value:
        if name not in known:
            path = f"{key}.{name}" if key else name
            raise ConfigError(f"{path}={value[name]} is not a key here: {nearest(name, fields)}")
    for name in fields:
        found = value.get(name, msgspec.UNSET)
        path = f"{key}.{name}" if key else name
        if found is msgspec.UNSET or found == "???":
            raise ConfigError(f"{path} is missing: give it a value ({description(struct, name)})")
    hints = get_type_hints(struct, include_extras=True)
    return struct(**{name: _field(value[name], hints[name], f"{key}.{name}" if key else name) for name in fields})


def _field(value: Any, hint: Any, key: str) -> Any:
    parts = list(value.values()) if isinstance(value, dict) else [value]
    if parts and all(isinstance(part, Struct) for part in parts):
        return value
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise ConfigError(_worded(error, value, key)) from None


def description(struct: type[Struct], field: str) -> str:
    """The line that describes one field, from its annotation."""
    hint = get_type_hints(struct, include_extras=True)[field]
    lines = [m.description for m in hint.__metadata__ if isinstance(m, Meta) and m.description]
    return lines[-1]


def _worded(error: msgspec.ValidationError, value: Any, key: str) -> str:
    rule, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`")
    found: Any = value
    for step in re.findall(r"\[\d+\]|[^.\[\]]+", path):
        found = found[int(step[1:-1])] if step.startswith("[") else found[step]
    return f"{key}{path}={found} is not valid: {rule[0].lower()}{rule[1:].replace('`', '')}"
