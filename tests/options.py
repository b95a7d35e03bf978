"""Options with the defaults of their YAML, and what is built from them: a name in a table is enough to be tested."""

from typing import Any

from torch import Tensor

from mtl_cli.beneath import CONF, packaged, section
from mtl_cli.options import Table
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.options import HEADS, KINDS, LOSSES, TaskOption

NAMES = ("type", "keys", "train", "forward")
"""Tasks with the names of a module's own attributes: no room may trip over them."""


READ: dict[tuple[str, str, str], Any] = {}
"""Options that were made before: they are frozen, and reading YAMLs is most of what a small test does."""


def default(table: Table, name: str, **changes: Any) -> Any:
    """The option of that name as its YAML has it, but for `changes`."""
    key = (table.group, name, repr(sorted(changes.items())))
    if key not in READ:
        READ[key] = packaged(table, name, changes)
    return READ[key]


def build(table: Table, name: str, *args: Any, **changes: Any) -> Any:
    """The object of that name, built from its defaults, but for `changes`, and what its room gives."""
    option = default(table, name, **changes)
    return table.target(option)(option, *args)


def task_option(kind: str, **changes: Any) -> TaskOption:
    """A task as its kind's YAML has it; a head or a loss in `changes` is an option of its own."""
    raw = {**section(CONF / "kind" / f"{kind}.yaml"), "target": "column", **changes}
    for group, table in (("head", HEADS), ("loss", LOSSES)):
        if isinstance(raw[group], str):
            raw[group] = default(table, raw[group])
    option: TaskOption = KINDS.convert(raw, "kind")
    return option


def make_task(name: str, kind: str, target: Tensor, classes: tuple[str, ...] = (), **changes: Any) -> Task:
    """A task fitted on `target`."""
    option = task_option(kind, **changes)
    task_class = KINDS.target(option)
    fitted = task_class.fit(name, option, target, classes)
    task: Task = task_class(name, option, fitted, LOSSES.target(option.loss)(option.loss, fitted.class_weights))
    return task
