"""A data set, read and divided as training does; what would stop training is a finding here, and the rest goes on."""

from typing import NamedTuple

import torch
from msgspec.structs import replace

from mtl_cli.backbones.options import BACKBONES
from mtl_cli.commands.assemble import wants_heldout
from mtl_cli.commands.build import given_of, read_off
from mtl_cli.commands.divide import RawSplit, divide, encoded, parts_of, source_of, targeted
from mtl_cli.config import Config
from mtl_cli.data.base import Loaded, RawPart, Samples, Source
from mtl_cli.data.check import ranges
from mtl_cli.data.check.duplicates import duplicates
from mtl_cli.data.check.finding import Finding, Piece, Pieces
from mtl_cli.data.check.labels import labels
from mtl_cli.options import ConfigError, DataError, JobError
from mtl_cli.tasks.options import KINDS
from mtl_cli.tasks.target import column_read

SPLITS = ("train", "heldout", "val", "test")
Classes = dict[str, tuple[str, ...]]


class Examined(NamedTuple):
    """One part: its splits, the class names of the tasks whose targets could be made, and what was found.

    pieces: empty where the source could not be read.
    """

    part: str
    pieces: Pieces
    classes: Classes
    findings: list[Finding]


def examine(config: Config) -> tuple[list[Examined], list[Finding]]:
    """Reads and checks every part, and what they have in common.

    Raises: ConfigError: what is wrong is the configuration, not the data.
    """
    heldout = wants_heldout(config)
    sources = {part: source_of(config, part, thorough=True) for part in config.data.parts}
    examined = [_part(config, part, source, heldout) for part, source in sources.items()]
    return examined, _together(config, examined)


def _part(config: Config, part: str, source: Source, heldout: bool) -> Examined:
    try:
        loaded = source.load()
    except ConfigError as error:
        return Examined(part, {}, {}, [_refused(error)])
    raw, classes, findings = _targets(config, part, source, loaded)
    if not raw:
        return Examined(part, {}, {}, findings)
    divided = divide(config, part, raw, classes, heldout)
    homes = {split: split if split in raw else "train" for split in SPLITS if split in divided}
    pieces = {split: _piece(source, home, divided[split]) for split, home in homes.items()}
    if len(pieces["train"].data.inputs) == 0:
        way_out = "lower data.validation and data.held_out, or raise data.limit"
        return Examined(part, {}, {}, [*findings, Finding(True, f"part {part} has no sample to train on: {way_out}")])
    try:
        findings += _checked(config, pieces, classes)
    except (ConfigError, JobError) as error:  # an image of a stream, which is decoded only now
        findings.append(_refused(error))
    return Examined(part, pieces, classes, findings)


def _piece(source: Source, home: str, data: RawPart) -> Piece:
    return Piece(data, lambda row: source.where(home, int(data.origin[row])))


def _targets(config: Config, part: str, source: Source, loaded: Loaded) -> tuple[RawSplit, Classes, list[Finding]]:
    """The splits that the source has, with the targets of the tasks that fit their columns."""
    findings: list[Finding] = []
    raw: RawSplit = {}
    classes: Classes = {}
    for name in (name for name, its in parts_of(config).items() if its == part):
        alone = replace(config, tasks={name: config.tasks[name]})
        infinite = _infinite(alone, name, source, loaded)
        if infinite:
            findings += infinite
            continue
        try:
            found, named = targeted(alone, part, source, loaded)
        except ConfigError as error:
            findings.append(_refused(error))
            continue
        classes |= named
        for split, piece in found.items():
            others = raw[split].targets if split in raw else {}
            raw[split] = piece._replace(targets={**others, **piece.targets})
    return raw, classes, list(dict.fromkeys(findings))


def _infinite(config: Config, task: str, source: Source, loaded: Loaded) -> list[Finding]:
    """The rows whose number no task can take: what encodes a target knows no rows."""
    samples = {"train": loaded.train, "val": loaded.val, "test": loaded.test}
    column, _ = column_read(config.tasks[task].target)
    there = {split: found for split, found in samples.items() if found is not None and column in found.columns}
    pieces = {split: _piece(source, split, _bare(found)) for split, found in there.items()}
    return ranges.infinite(f"task {task}", {s: found.columns[column].values for s, found in there.items()}, pieces)


def _bare(samples: Samples) -> RawPart:
    return RawPart(samples.inputs, {}, torch.arange(len(samples.inputs)))


def _checked(config: Config, pieces: Pieces, classes: Classes) -> list[Finding]:
    findings: list[Finding] = []
    for task, names in classes.items():
        its = labels(task, pieces, names)
        findings += its
        option, target = config.tasks[task], pieces["train"].data.targets[task]
        try:
            KINDS.target(option).fit(task, option, target, names)
        except ConfigError as error:
            if not any(finding.error for finding in its):  # else it has been said
                findings.append(_refused(error))
        if not names:
            findings += ranges.targets(task, pieces)
    return findings + ranges.inputs(pieces) + duplicates(pieces, classes)


def _together(config: Config, examined: list[Examined]) -> list[Finding]:
    """What else training reads off its data, where nothing has stopped it: parts that differ too much, for one."""
    if any(finding.error for its in examined for finding in its.findings):
        return []
    divided = {its.part: {split: piece.data for split, piece in its.pieces.items()} for its in examined}
    classes = {task: names for its in examined for task, names in its.classes.items()}
    try:
        known = read_off(config, divided, classes, BACKBONES.target(config.backbone).wants(config.backbone))
        given_of(encoded(divided, known.preparations)["train"], known.preparations)
    except ConfigError as error:
        return [_refused(error)]
    return []


def _refused(error: ConfigError | JobError) -> Finding:
    if isinstance(error, DataError) and error.total > 1:
        return Finding(True, error.many, error.places, error.total)
    return Finding(True, str(error))
