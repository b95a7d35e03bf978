"""`mtl ls`: what can be chosen. Descriptions, types and ranges come from the structs, defaults from the YAMLs."""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta, Struct

from mtl_cli.beneath import section
from mtl_cli.config import CHOICES, TABLES, Config
from mtl_cli.data.options import DataOptions
from mtl_cli.options import ConfigError, description, nearest, text
from mtl_cli.shipping.options import ExportOptions
from mtl_cli.tasks.options import METRICS, TaskOption
from mtl_cli.training.options import TrainerOptions
from mtl_cli.words import words

WIDTH = 80

GROUPS = {
    "task": "a task set: what to predict, and from which data",
    **{group: description(Config, group) for group in CHOICES},
    "regularizer": description(Config, "regularizer"),
    "trainer": description(Config, "trainer"),
    "experiment": "several choices under one name",
    "kind": "what a task predicts",
    "head": description(TaskOption, "head"),
    "loss": description(TaskOption, "loss"),
    "metrics": description(TaskOption, "metrics"),
    "source": "where a part of the data comes from",
    "sampling": description(DataOptions, "sampling"),
    "format": description(ExportOptions, "format"),
    "data": description(Config, "data"),
    "run": "what belongs to no group",
}
FOR_THE_RUN = (*CHOICES, "task", "regularizer", "trainer", "experiment")
USAGE = {
    "regularizer": "mtl train regularizer=[NAME,...] regularizer.NAME.KEY=VALUE",
    "trainer": "mtl train trainer.KEY=VALUE",
    "kind": "in a task set's YAML; mtl train tasks.TASK.KEY=VALUE",
    "head": "mtl train tasks.TASK.head=NAME tasks.TASK.head.KEY=VALUE",
    "loss": "mtl train tasks.TASK.loss=NAME tasks.TASK.loss.KEY=VALUE",
    "metrics": "mtl train tasks.TASK.metrics=[NAME,...] tasks.TASK.primary=NAME",
    "source": "mtl train data.parts.PART=NAME data.parts.PART.KEY=VALUE",
    "sampling": "mtl train data.sampling=NAME data.sampling.KEY=VALUE",
    "format": "mtl export checkpoint=RUN export.format=NAME",
    "data": "mtl train data.KEY=VALUE",
    "run": "mtl train KEY=VALUE",
    "task": "mtl train task=NAME",
    "experiment": "mtl train experiment=NAME",
}


class LsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `mtl ls` is told."""

    group: Annotated[str | None, Meta(description="the group to show")]


class Key(NamedTuple):
    """One parameter of an option: its default, what it may be, and what it does."""

    name: str
    default: str
    kind: str
    line: str


class Choice(NamedTuple):
    """One option of a group."""

    name: str
    line: str
    keys: list[Key]


def run(options: LsOptions, folders: list[Path]) -> None:
    """Prints every group, or one of them. Raises: ConfigError: there is no such group."""
    if options.group is None:
        lines = [*overview(list(GROUPS), folders), "", "* is the default. More: mtl ls GROUP"]
    elif options.group in GROUPS:
        lines = [*page(options.group, folders)]
    else:
        raise ConfigError(f"group={options.group} is not known: {nearest(options.group, list(GROUPS))}")
    sys.stdout.write("\n".join(lines) + "\n")


def overview(groups: list[str], folders: list[Path]) -> Iterator[str]:
    """Each group with its line and the names of its options."""
    defaults = _defaults(folders)
    for group in groups:
        chosen = defaults.get(group, [])
        marked = [f"{name}*" if name in chosen else name for name in names(group, folders)]
        yield f"  {group:12} {GROUPS[group]}"
        yield from _wrapped(", ".join(marked) or "(none yet)", 15)


def page(group: str, folders: list[Path]) -> Iterator[str]:
    """One group in full."""
    yield f"{group}: {GROUPS[group]}"
    yield f"  {USAGE.get(group, f'mtl train {group}=NAME {group}.KEY=VALUE')}"
    chosen = _defaults(folders).get(group, [])
    for choice in choices(group, folders):
        yield ""
        if choice.name:
            yield f"{choice.name} (default)" if choice.name in chosen else choice.name
        yield from _wrapped(choice.line, 4)
        width = max((len(key.name) for key in choice.keys), default=0)
        for key in choice.keys:
            kind = f"  ({key.kind})" if key.kind else ""
            yield from _wrapped(f"{key.name:{width}} = {key.default}{kind}", 4, 7 + width)
            yield from _wrapped(key.line, 7 + width)


def choices(group: str, folders: list[Path]) -> list[Choice]:
    """The options of a group, with their keys."""
    if group in ("task", "experiment"):
        return [_described(group, name, folders) for name in names(group, folders)]
    if group == "metrics":
        return [
            Choice(kind, "", [Key(name, m.line, _best(m.best), "") for name, m in metrics.items()])
            for kind, metrics in METRICS.items()
        ]
    if group == "data":
        return [Choice("", "", _keys(DataOptions, _train(folders)["data"], names(group, folders)))]
    if group == "run":
        plain = [f for f in Config.__struct_fields__ if f not in (*GROUPS, "tasks")]
        return [Choice("", "", _keys(Config, _train(folders), plain))]
    return [_option(group, name, folders) for name in names(group, folders)]


def line(group: str, name: str, folders: list[Path]) -> str:
    """What is said about one option: by its struct, else by the first comment in its YAML."""
    if group in TABLES and name in TABLES[group]:
        return _documented(TABLES[group].struct(name))
    file = _file(group, name, folders)
    return _commented(file) if file else ""


def _best(best: str) -> str:
    return "higher is better" if best == "max" else "lower is better"


def names(group: str, folders: list[Path]) -> list[str]:
    """The names of a group's options: those of its table, and those of YAMLs."""
    if group == "metrics":
        return [*dict.fromkeys(name for metrics in METRICS.values() for name in metrics)]
    if group == "data":
        return [field for field in DataOptions.__struct_fields__ if field != "parts"]
    if group == "run":
        return [key.name for key in choices(group, folders)[0].keys]
    known = list(TABLES[group]) if group in TABLES else []
    files = sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})
    return [*known, *(name for name in files if name not in known)]


def _option(group: str, name: str, folders: list[Path]) -> Choice:
    file = _file(group, name, folders)
    defaults = section(file, resolve=False) if file else {}
    if group == "trainer":
        return Choice(name, "", _keys(TrainerOptions, defaults))
    table = TABLES[group]
    told = defaults.get(table.tag_field, name)
    if told not in table:
        raise ConfigError(f"{file} says {table.tag_field}: {text(told)}: {nearest(text(told), list(table))}")
    struct = table.struct(told)
    line = _documented(struct)
    return Choice(name, line if told == name else f"{told}, with other defaults. {line}", _keys(struct, defaults))


def _described(group: str, name: str, folders: list[Path]) -> Choice:
    """A YAML of several sections: its first comment and the tasks that it brings; one that it changes has no kind."""
    file = _file(group, name, folders)
    assert file is not None
    tasks = section(file, resolve=False).get("tasks")
    entries = tasks.items() if isinstance(tasks, dict) else ()
    keys = [Key(f"tasks.{task}", text(entry["kind"]), "", "") for task, entry in entries if entry and "kind" in entry]
    return Choice(name, _commented(file), keys)


def _documented(struct: type[Struct]) -> str:
    return (struct.__doc__ or "").strip().splitlines()[0]


def _commented(file: Path) -> str:
    comments = [line.lstrip("# ") for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return next((comment for comment in comments if not comment.startswith("@package")), "")


def _file(group: str, name: str, folders: list[Path]) -> Path | None:
    return next((file for folder in folders if (file := folder / group / f"{name}.yaml").is_file()), None)


def _train(folders: list[Path]) -> dict[str, Any]:
    file = next(folder / "train.yaml" for folder in folders if (folder / "train.yaml").is_file())
    return section(file, resolve=False)


def _defaults(folders: list[Path]) -> dict[str, list[str]]:
    entries = [entry for entry in _train(folders)["defaults"] if isinstance(entry, dict)]
    found = {group: name if isinstance(name, list) else [name] for entry in entries for group, name in entry.items()}
    return {group: names for group, names in found.items() if " " not in group}


def _keys(struct: type[Struct], defaults: dict[str, Any], only: list[str] | None = None) -> list[Key]:
    hints = get_type_hints(struct, include_extras=True)
    fields = [field.encode_name for field in msgspec.structs.fields(struct)]
    return [
        Key(name, default(defaults.get(name, "???")), words(hints[name]), description(struct, name))
        for name in (only or fields)
    ]


def default(value: Any) -> str:
    """A default as a page shows it."""
    if value == "???":
        return "(to be given)"
    env = re.fullmatch(r"\$\{oc\.env:(\w+),(.+)\}", value) if isinstance(value, str) else None
    return f"{env.group(2)}, or $" + env.group(1) if env else text(value)


def _wrapped(line: str, indent: int, hanging: int | None = None) -> list[str]:
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if hanging is None else hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )
