"""mtl init: looks at data and writes the task set that it seems to be. Imports no torch."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mtl_cli.beneath import CONF, section
from mtl_cli.data.guess import folder
from mtl_cli.data.guess.manifest import manifest, tables
from mtl_cli.data.guess.name import task_names
from mtl_cli.data.guess.role import percent
from mtl_cli.data.guess.table import TableGuess, choose, look
from mtl_cli.data.guess.taskset import Heading, of_folder, of_manifest, of_table
from mtl_cli.options import ConfigError
from mtl_cli.reporting.atomic import write_atomic
from mtl_cli.reporting.wording import shorten

TASKS = 12
"""Targets that the summary lists."""


class Asked(NamedTuple):
    """What `mtl init` is told: the data, the YAML to write, and the targets, where they are named."""

    data: Path
    out: Path
    targets: tuple[str, ...] | None


def run(asked: Asked) -> None:
    """Writes the YAML and says what is in it.

    Raises: ConfigError: the data cannot be read, or the YAML not be written; nothing is written then.
    """
    _writable(asked.out)
    heading = Heading(asked.data.name, below_data(asked.data), f"mtl train {_words(asked.out)}")
    content, summary = _of_folder(asked, heading) if asked.data.is_dir() else _of_table(asked, heading, asked.data)
    try:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(asked.out, content)
    except OSError as error:
        raise ConfigError(f"--out {asked.out} cannot be written: {error.strerror or error}") from None
    for line in (f"written: {asked.out}", *summary, *_next(asked.out)):
        sys.stdout.write(f"{line}\n")


def _of_table(asked: Asked, heading: Heading, file: Path) -> tuple[str, list[str]]:
    """Of a table, which may name images."""
    defaults = section(CONF / "source" / "table.yaml")
    looked = look(file, str(file), frozenset({"", *map(str, defaults["missing"])}))
    images = manifest(file, looked)
    if images is None:
        found = choose(looked, asked.targets)
        return of_table(heading, found), [*_summary(file.name, found, "rows")]
    found = choose(looked, asked.targets, needs_input=False)
    heading = heading._replace(title=file.name, path=below_data(images.folder))
    return of_manifest(heading, found, images, below_data(file)), [*_summary(file.name, found, "images")]


def _of_folder(asked: Asked, heading: Heading) -> tuple[str, list[str]]:
    """Of a folder of images: of classes, or with a table beside them that names them."""
    beside = tables(asked.data)
    if len(beside) == 1:
        return _of_table(asked, heading._replace(path=below_data(beside[0])), beside[0])
    if beside:
        told = ", ".join(file.name for file in beside[:4])
        raise ConfigError(f"{asked.data} holds several tables ({told}): name one: mtl init {beside[0]}")
    if asked.targets:
        raise ConfigError(f"--targets goes with a table: the classes of {asked.data} are its folders")
    found = folder.look(asked.data, str(asked.data))
    told = ", ".join(f"{split} {sum(counts.values()):,}" for split, counts in found.counts.items())
    summary = f"{shorten(asked.data.name, 30)}: {len(found.classes):,} classes; images: {told}"
    return of_folder(heading, found), [summary]


def below_data(path: Path) -> str:
    """The path as a task set says it: from the data folder where it lies below that, else in full."""
    here = _normal(path)
    home = _normal(Path(os.environ.get("MTL_DATA") or "data"))
    return here.relative_to(home).as_posix() if here.is_relative_to(home) else str(here)


def _normal(path: Path) -> Path:
    """In full, links as they are."""
    return Path(os.path.normpath(path.expanduser().absolute()))


def _writable(out: Path) -> None:
    """Raises: ConfigError: `out` is there, or no command would find it."""
    if out.exists():
        raise ConfigError(f"--out {out} is there: name another one, or move it away")
    if out.suffix != ".yaml" or out.absolute().parent.name != "task":
        raise ConfigError(f"--out {out} would not be found: name a YAML in a folder named task: conf/task/mine.yaml")
    if not out.stem.replace("-", "_").isidentifier():
        raise ConfigError(f"--out {out} cannot be chosen by task={out.stem}: take letters, digits, _ and -")
    if (CONF / "task" / out.name).is_file():
        raise ConfigError(f"--out {out} has the name of a task set that comes with mtl, which goes first: take another")


def _words(out: Path) -> str:
    return f"--config-dir {shlex.quote(str(out.parent.parent))} task={out.stem}"


def _summary(name: str, found: TableGuess, what: str) -> Iterator[str]:
    yield f"{shorten(name, 40)}: {found.rows:,} {what}"
    names = task_names(role.facts.name for role, _ in found.targets)
    for role, kind in found.targets[:TASKS]:
        its = role.facts
        gaps = f"{its.missing:,} missing ({percent(its.missing, its.rows)})" if its.missing else "no label missing"
        yield f"  task {shorten(names[its.name], 26):26} {kind:15} {gaps}"
    if len(found.targets) > TASKS:
        yield f"  and {len(found.targets) - TASKS:,} more"
    uses = {use: sum(role.use == use for role in found.inputs) for use in ("numbers", "categories", "dates")}
    told = ", ".join(f"{count:,} {use}" for use, count in uses.items() if count)
    left = sum(not role.path or what == "rows" for role in found.left)
    yield f"  inputs: {told or 'the images'}; {left:,} {'column' if left == 1 else 'columns'} left out"
    if found.candidates:
        yield f"  {len(found.candidates):,} more columns might be targets: --targets a,b names them"


def _next(out: Path) -> Sequence[str]:
    return ("next:", f"  mtl data {_words(out)}", f"  mtl train {_words(out)}")
