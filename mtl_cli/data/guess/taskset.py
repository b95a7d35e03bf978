"""A task set's YAML, with what was guessed and why beside each line."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mtl_cli.data.guess.folder import FolderGuess, Pictures
from mtl_cli.data.guess.manifest import Manifest
from mtl_cli.data.guess.name import quoted, task_names, usable
from mtl_cli.data.guess.role import Kind, Role, Use, cut, percent
from mtl_cli.data.guess.table import TableGuess, missing

USES: tuple[Use, ...] = ("numbers", "categories", "dates")
COMMENT = 34
"""The column in which comments begin, where there is room."""
WIDTH = 120


class Heading(NamedTuple):
    """What stands at the top: the file as it is called, the path to write, and the line that trains."""

    title: str
    path: str
    train: str


def of_table(heading: Heading, guess: TableGuess) -> str:
    """The task set of a table."""
    part = usable(heading.path.rpartition("/")[2].partition(".")[0], "table")
    lines = [
        "# @package _global_",
        f"# {heading.title}: {guess.rows:,} rows. What each column was taken for, and why, stands beside it.",
        f"# Written by mtl init, to be mended by hand; then {heading.train}",
        *(f"# {cut(note, WIDTH)}" for note in guess.layout.notes),
        "defaults:",
        "  - override /backbone: mlp",
        "data:",
        "  parts:",
        f"    {quoted(part)}:",
        "      name: table",
        f"      path: {quoted(heading.path)}",
        *_layout(guess),
        *_inputs(guess),
        *_left(guess.left),
        "tasks:",
        *_tasks(guess),
        "trainer:",
        *trainer(guess.rows),
    ]
    return "".join(f"{line}\n" for line in lines)


def of_folder(heading: Heading, guess: FolderGuess) -> str:
    """The task set of a folder of images, one folder a class."""
    part = usable(heading.path.rpartition("/")[2], "images")
    sums = {split: sum(counts.values()) for split, counts in guess.counts.items()}
    told = ", ".join(f"{count:,} images in {split}" for split, count in sums.items())
    if len(sums) == 1:
        told = f"{sums['train']:,} images, of which a share is kept for test"
    balance = ", ".join(f"{cut(its)} {percent(n, sums['train'])}" for its, n in list(guess.counts["train"].items())[:4])
    kind: Kind = "binary" if len(guess.classes) == 2 else "classification"
    lines = [
        "# @package _global_",
        f"# {heading.title}: {told}.",
        f"# Written by mtl init, to be mended by hand; then {heading.train}",
        "data:",
        "  parts:",
        f"    {quoted(part)}:",
        "      name: image_folder",
        f"      path: {quoted(heading.path)}",
        *_pictures(guess.pictures),
        "tasks:",
        *entry("label", {"kind": kind, "target": "label"}, f"{len(guess.classes):,} classes: {balance}"),
        "trainer:",
        *trainer(sums["train"]),
    ]
    return "".join(f"{line}\n" for line in lines)


def of_manifest(heading: Heading, guess: TableGuess, found: Manifest, labels: str) -> str:
    """The task set of images that a table names; `labels` is the table's path."""
    part = usable(heading.path.rpartition("/")[2], "images")
    lines = [
        "# @package _global_",
        f"# {heading.title}: {guess.rows:,} images. What each column was taken for, and why, stands beside it.",
        f"# Written by mtl init, to be mended by hand; then {heading.train}",
        *(f"# {cut(note, WIDTH)}" for note in guess.layout.notes),
        "data:",
        "  parts:",
        f"    {quoted(part)}:",
        "      name: image_table",
        f"      path: {quoted(heading.path)}",
        f"      labels: {quoted(labels)}",
        *commented(f"      column: {quoted(found.column)}", "the images' paths, told from `path`"),
        *_layout(guess),
        *_pictures(found.pictures),
        *_left([role for role in guess.left if not role.path]),
        "tasks:",
        *_tasks(guess),
        "trainer:",
        *trainer(guess.rows),
    ]
    return "".join(f"{line}\n" for line in lines)


def _pictures(its: Pictures) -> Iterator[str]:
    size = "null" if its.size is None else str(its.size)
    yield from commented(f"      size: {size}", f"sizes: {its.sizes}")
    yield from commented(f"      colour: {str(its.colour).lower()}", "as those that were looked at")
    yield from commented("      flip: true", "half of the images mirrored in training; false where left and right tell")


def trainer(rows: int) -> list[str]:
    """More passes over fewer rows."""
    epochs, batch = next(((e, b) for most, e, b in ((5_000, 60, 64), (100_000, 20, 256)) if rows < most), (5, 1024))
    return [f"  epochs: {epochs}", f"  batch_size: {batch}"]


def entry(name: str, keys: Mapping[str, str], why: str) -> list[str]:
    """A task with its keys, a line each."""
    return [*commented(f"  {quoted(name)}:", why), *(f"    {key}: {value}" for key, value in keys.items())]


def commented(line: str, said: str) -> list[str]:
    """A line with a comment, which begins in one column where there is room, and goes on below where it is long."""
    first, *rest = textwrap.wrap(said, WIDTH - COMMENT - 2, break_on_hyphens=False)
    return [f"{line:{COMMENT - 1}} # {first}", *(f"{'':{COMMENT}}# {more}" for more in rest)]


def _layout(guess: TableGuess) -> Iterator[str]:
    layout = guess.layout.layout
    if layout.delimiter:
        yield f"      delimiter: {quoted(layout.delimiter)}"
    if layout.encoding != "utf-8":
        yield f"      encoding: {layout.encoding}"
    if layout.columns:
        yield f"      columns: [{', '.join(layout.columns)}]"
    if guess.split:
        yield from commented(f"      split: {quoted(guess.split.facts.name)}", "says train, val or test of each row")
    used = [*(its for its, _ in guess.targets), *guess.inputs]
    codes = {its.facts.name: its.facts.codes for its in used if its.facts.codes}
    if codes:
        yield from commented("      codes:", "what stands for an empty cell, and is counted as one")
        for name, words in codes.items():
            yield f"        {quoted(name)}: [{', '.join(quoted(word) for word in words)}]"


def _inputs(guess: TableGuess) -> Iterator[str]:
    for use in USES:
        its = [role for role in guess.inputs if role.use == use]
        if its:
            yield f"      {use}:"
        for role in its:
            yield from commented(f"        - {quoted(role.facts.name)}", _said(role))


def _left(left: Sequence[Role]) -> Iterator[str]:
    if left:
        yield "      # left out:"
    for role in left:
        yield from commented(f"      # - {quoted(role.facts.name)}", _said(role))


def _tasks(guess: TableGuess) -> Iterator[str]:
    roles = [*(role for role, _ in guess.targets), *guess.candidates]
    names = task_names(role.facts.name for role in roles)
    for role, kind in guess.targets:
        yield from entry(names[role.facts.name], _keys(role, kind), f"{_said(role)}; {guess.why}")
    if guess.candidates:
        way = "; take one out of the inputs above when you make it one" if guess.inputs else ""
        yield f"  # These might be targets too{way}:"
    for role in guess.candidates:
        if role.kind:
            keys = ", ".join(f"{key}: {value}" for key, value in _keys(role, role.kind).items())
            yield from commented(f"  # {quoted(names[role.facts.name])}: {{{keys}}}", _said(role))


def _keys(role: Role, kind: Kind) -> dict[str, str]:
    found = {"kind": kind, "target": quoted(role.facts.name)}
    if kind == "multilabel" and role.separator != ",":
        found["separator"] = quoted(role.separator)
    if kind == "multilabel" and role.no_tag is not None:
        found["none"] = quoted(role.no_tag)
    return found


def _said(role: Role) -> str:
    return "; ".join(filter(None, [role.why, missing(role)]))
