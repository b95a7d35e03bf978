"""Every key that a command takes, given what is chosen: from the primaries, the tables and the structs."""

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from mtl_cli.cli.completion.composed import Composed, laid
from mtl_cli.commands import ls
from mtl_cli.config import ASKED, AT_THE_TOP, CHOICES, TABLES, Config
from mtl_cli.data.options import DataOptions
from mtl_cli.options import Option, description, wrapped
from mtl_cli.saved import may_differ
from mtl_cli.training.options import TrainerOptions

STARTS = ("resume", "init_from", "run_dir")
"""Keys that say where a new run starts; what goes on from a saved one, or starts none, has none."""


class Key(NamedTuple):
    """One key. Either `group` says that it names an option of a group, or `hint` says its type."""

    name: str
    line: str = ""
    group: str = ""
    hint: Any = None
    default: Any = msgspec.UNSET

    @property
    def about(self) -> str:
        """Its line, with the default in front."""
        known = self.default is not msgspec.UNSET and not (isinstance(self.default, str) and "${" in self.default)
        return f"{ls.default(self.default)}: {self.line}" if known and self.line else self.line


def keys(all_: Composed) -> list[Key]:
    """The keys of a command. A resumed run is told those that may differ."""
    found = [*_groups(all_), *_own(all_), *(_configured(all_) if all_.saved or len(all_.chosen) else ())]
    if all_.saved and all_.command == "train":
        return [key for key in found if may_differ(key.name) and key.name not in STARTS]
    return found


def _groups(all_: Composed) -> Iterator[Key]:
    for group in all_.chosen:
        if ls.names(group, all_.folders):
            yield Key(group, ls.GROUPS.get(group, ""), group)


def _own(all_: Composed) -> Iterator[Key]:
    """What the primary says beside the configuration of a run: `checkpoint`, `eval.split`."""
    for name, value in all_.own.items():
        if name in Config.__struct_fields__ and (all_.chosen or all_.saved):
            continue
        struct = ASKED.get(name)
        if struct is not None:
            yield from fields(name, struct, value if isinstance(value, dict) else {}, all_)
        elif isinstance(value, dict):
            yield from (Key(f"{name}.{key}", default=inner) for key, inner in value.items())
        elif name in get_type_hints(AT_THE_TOP.get(all_.command, Struct)):
            struct = AT_THE_TOP[all_.command]
            hint = get_type_hints(struct, include_extras=True)[name]
            yield Key(name, description(struct, name), hint=hint, default=value)
        else:
            yield Key(name, all_.lines.get(name, ""))


def _configured(all_: Composed) -> Iterator[Key]:
    """The keys of a run's configuration; those of a group that cannot be chosen here are the checkpoint's."""
    hints = get_type_hints(Config, include_extras=True)
    for name in Config.__struct_fields__:
        value = all_.raw.get(name)
        if name in (*CHOICES, "regularizer"):
            yield from _chosen(name, value, all_) if name in all_.chosen else ()
        elif name in ("trainer", "data", "tasks"):
            yield from _section(name, value if isinstance(value, dict) else {}, all_)
        elif name != "task" and not ((all_.saved or all_.command == "data") and name in STARTS):
            yield Key(name, description(Config, name), hint=hints[name], default=value)


def _chosen(group: str, value: Any, all_: Composed) -> Iterator[Key]:
    """The keys of what is chosen in a group; regularizers have a name each."""
    if group != "regularizer":
        yield from _option(group, group, value, all_)
        return
    for name, entry in value.items() if isinstance(value, dict) else ():
        yield from _option(f"{group}.{name}", group, entry, all_)


def _section(name: str, raw: dict[str, Any], all_: Composed) -> Iterator[Key]:
    """The keys of a section that is not one choice."""
    if name == "trainer":
        yield from fields(name, TrainerOptions, raw, all_)
    elif name == "data":
        yield from _data(raw, all_)
    else:
        for task, entry in raw.items():
            yield from _option(f"{name}.{task}", "kind", entry, all_)


def _data(raw: dict[str, Any], all_: Composed) -> Iterator[Key]:
    parts = raw.get("parts")
    yield from (key for key in fields("data", DataOptions, raw, all_) if key.name != "data.parts")
    for part, entry in parts.items() if isinstance(parts, dict) else ():
        yield Key(f"data.parts.{part}", ls.GROUPS["source"], "source")
        yield from _option(f"data.parts.{part}", "source", entry, all_)


def _option(key: str, group: str, value: Any, all_: Composed) -> Iterator[Key]:
    """The keys of one named option, over the YAML of its name."""
    table = TABLES[group]
    entry = laid(value, group, all_.folders)
    name = entry.get(table.tag_field)
    if not isinstance(name, str) or name not in table:  # of a package that is not imported here: its YAML has its keys
        yield from (Key(f"{key}.{inner}", default=entry[inner]) for inner in entry if inner != table.tag_field)
        return
    for part in ("head", "loss") if group == "kind" else ():
        if isinstance(entry.get(part), dict):
            entry[part] = {"name": laid(name, group, all_.folders).get(part), **entry[part]}
    yield from fields(key, table.struct(name), entry, all_)
    if group == "kind":
        yield Key(f"{key}.kind", ls.GROUPS["kind"], "kind", default=name)


def fields(key: str, struct: type[Struct], values: dict[str, Any], all_: Composed) -> Iterator[Key]:
    """The keys of a struct; a field that holds an option of a group is a choice with keys of its own."""
    hints = get_type_hints(struct, include_extras=True)
    inner = {**{name: name for name in hints if name in TABLES and _is_choice(hints[name])}, **wrapped(struct)}
    for field in msgspec.structs.fields(struct):
        name, value = field.encode_name, values.get(field.encode_name, msgspec.UNSET)
        line = description(struct, name)
        group = inner.get(name, "")
        if group:
            chosen = value.get(TABLES[group].tag_field) if isinstance(value, dict) else value
            yield Key(f"{key}.{name}", line, group, default=chosen)
            yield from _option(f"{key}.{name}", group, value, all_)
        else:
            yield Key(f"{key}.{name}", line, hint=hints[name], default=value)


def _is_choice(hint: Any) -> bool:
    """Whether a field holds an option of the group of its name: a task's head, an export's format."""
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return isinstance(bare, type) and issubclass(bare, Option)
