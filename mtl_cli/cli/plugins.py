"""A user's own methods: packages named on the command line, and nowhere else.

A package defines TABLE_LINES: {group: [(struct, "module:Class"), ...]}, lines as in the rooms' tables.
"""

from importlib import import_module
from typing import Any

from msgspec import Struct

from mtl_cli.cli.arguments import Arguments
from mtl_cli.options import ConfigError, nearest, tag, text
from mtl_cli.schema import TABLES


def named(arguments: Arguments) -> list[str]:
    """The packages that the command line names: plugins=[a, b]."""
    told = arguments.last("plugins")
    value = (told.plain if told else None) or ""
    return [name.strip(" '\"") for name in value.strip("[] ").split(",") if name.strip(" '\"")]


def missing(packages: list[str], arguments: Arguments, where: str) -> None:
    """Raises: ConfigError: a package that is named elsewhere, but not on the command line."""
    here = named(arguments)
    lacking = [package for package in packages if package not in here]
    if lacking:
        wanted = ",".join([*here, *lacking])
        raise ConfigError(f"plugins=[{','.join(lacking)}] in {where} is not imported: say it here: plugins=[{wanted}]")


def load(found: Any, arguments: Arguments) -> None:
    """Imports what the command line names and adds its lines to the tables; `found` is the composed `plugins`."""
    if isinstance(found, list):
        missing([str(package) for package in found], arguments, "a YAML")
    for package in named(arguments):
        for group, lines in _lines(package).items():
            if group not in TABLES:
                near = nearest(text(group), list(TABLES))
                raise ConfigError(f"plugins=[{package}] adds to {text(group)}, which is no group: {near}")
            for line in lines:
                _add(package, group, line)


def _lines(package: str) -> dict[str, list[Any]]:
    try:
        module = import_module(package)
    except ImportError as error:
        raise ConfigError(f"plugins=[{package}] cannot be imported: {' '.join(str(error).split())}") from None
    lines = vars(module).get("TABLE_LINES")
    if not isinstance(lines, dict):
        raise ConfigError(f'plugins=[{package}] should define TABLE_LINES = {{group: [(struct, "module:Class")]}}')
    return lines


def _add(package: str, group: str, line: Any) -> None:
    match line:
        case (struct, str(target)) if isinstance(struct, type) and issubclass(struct, Struct):
            name = tag(struct)
        case _:
            raise ConfigError(f'plugins=[{package}] should give {group} pairs of (struct, "module:Class")')
    if name not in TABLES[group]:
        TABLES[group].add(struct, target)
    elif TABLES[group].struct(name) is not struct:
        raise ConfigError(f"plugins=[{package}] adds {group}={name}, which is there: choose another name")
