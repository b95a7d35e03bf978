"""Checks a composed configuration and makes it a typed one. Imports no torch."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_cli.agree import agree
from mtl_cli.beneath import beneath, choice
from mtl_cli.config import ASKED, BELOW, CHOICES, TABLES, Config
from mtl_cli.data.options import SAMPLINGS, SOURCES, DataOptions
from mtl_cli.options import ConfigError, convert, nearest, shown, text
from mtl_cli.tasks.options import HEADS, KINDS, LOSSES, TaskOption
from mtl_cli.training.options import TrainerOptions


def check(raw: dict[str, Any], folders: list[Path]) -> Config:
    """The typed configuration of a composed one; `folders` hold the YAMLs that lie beneath named entries.

    Without folders the configuration is whole, as a run saves it: nothing is laid beneath.

    Raises: ConfigError: one line that names the key, the value and the nearest right one.
    """
    for key, value in raw.items():
        if key not in Config.__struct_fields__:
            raise ConfigError(unknown(str(key), value, raw))
    typed = dict(raw)
    for group in CHOICES:
        typed[group] = choice(_section(raw, group), TABLES[group], group, folders, TABLES)
    typed["regularizer"] = {
        name: choice(value, TABLES["regularizer"], f"regularizer.{name}", folders, TABLES)
        for name, value in _kept(_section(raw, "regularizer")).items()
    }
    typed["trainer"] = convert(_section(raw, "trainer"), TrainerOptions, "trainer")
    typed["data"] = _data(_section(raw, "data"), folders)
    typed["tasks"] = _tasks(_kept(_section(raw, "tasks", "task")), folders)
    config: Config = convert(typed, Config, "")
    agree(config)
    return config


def unknown(key: str, value: Any, raw: dict[str, Any]) -> str:
    """The line for a key that stands nowhere at the top of the composed configuration `raw`."""
    line = f"{shown(key, value)} is not a key here"
    if key in BELOW:
        return f"{line}: did you mean {BELOW[key]}={text(value)}?"
    if key in ASKED and key != "eval":
        return f"{line}: it belongs to mtl {key}"
    if key in ("checkpoint", "eval"):
        return f"{line}: it belongs to mtl eval (to go on with a run: resume=, to start from its weights: init_from=)"
    inner = [f"{group}.{name}" for group, part in raw.items() if isinstance(part, Mapping) for name in part]
    right = [path for path in inner if path.endswith(f".{key}")]
    if right:
        return f"{line}: did you mean {right[0]}?"
    known = [name for name in raw if name != key] or [*Config.__struct_fields__]
    close = difflib.get_close_matches(key, [*known, "experiment"], n=1)
    return f"{line}: {f'did you mean {close[0]}?' if close else 'mtl ls lists the groups, mtl ls GROUP its keys'}"


def _section(raw: dict[str, Any], key: str, group: str = "") -> dict[str, Any]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise ConfigError(f"{key}={text(value)} should be a section with keys of its own (mtl ls {group or key})")
    return {str(k): v for k, v in value.items()}


def _kept(entries: dict[str, Any]) -> dict[str, Any]:
    """The entries but for those that are null: so a YAML leaves out what another one has."""
    return {name: value for name, value in entries.items() if value is not None}


def _data(raw: dict[str, Any], folders: list[Path]) -> DataOptions:
    parts = _kept(_section({"data.parts": raw.get("parts")}, "data.parts", "source"))
    _named(parts, "data.parts", "name")
    typed = {}
    for name, value in parts.items():
        key = f"data.parts.{name}"
        typed[name] = SOURCES.convert(beneath(value, TABLES["source"], key, folders), key)
    if not typed:
        raise ConfigError("data.parts={} is empty: a task set names at least one part (mtl ls task)")
    sampling = raw.get("sampling")
    found = SAMPLINGS.convert(beneath(sampling, SAMPLINGS, "data.sampling", folders), "data.sampling")
    options: DataOptions = convert({**raw, "parts": typed, "sampling": found}, DataOptions, "data")
    return options


def _tasks(raw: dict[str, Any], folders: list[Path]) -> dict[str, TaskOption]:
    if not raw:
        raise ConfigError("tasks={} is empty: a task set names at least one task (mtl ls task)")
    _named(raw, "tasks", "kind")
    return {name: _task(name, value, folders) for name, value in raw.items()}


def _named(entries: dict[str, Any], key: str, tag_field: str) -> None:
    """An entry without its tag, beside others that have one, is most likely a misspelt one of them."""
    whole = [
        name
        for name, value in entries.items()
        if isinstance(value, str) or (isinstance(value, dict) and tag_field in value)
    ]
    for name, value in entries.items():
        if name not in whole and isinstance(value, dict) and value and whole:
            new = f"a new one says its {tag_field}"
            raise ConfigError(f"{shown(f'{key}.{name}', value)} is not known: {nearest(name, whole)} ({new})")


def _task(name: str, value: Any, folders: list[Path]) -> TaskOption:
    key = f"tasks.{name}"
    entry = beneath(value, TABLES["kind"], key, folders)
    for group, table in (("head", HEADS), ("loss", LOSSES)):
        if group in entry:
            below = f"{key}.{group}"
            part = entry[group]
            if isinstance(part, dict) and "name" not in part:
                part = {"name": _default(entry["kind"], group, folders), **part}
            entry[group] = table.convert(beneath(part, TABLES[group], below, folders), below)
    option: TaskOption = KINDS.convert(entry, key)
    return option


def _default(kind: str, group: str, folders: list[Path]) -> str:
    return str(beneath(kind, TABLES["kind"], "kind", folders)[group])
