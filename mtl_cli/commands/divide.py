"""From sources to splits: each part read, its targets made, val carved, tables encoded."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mtl_cli.commands.classes import seen
from mtl_cli.config import Config
from mtl_cli.data.base import (
    Column,
    Frame,
    Loaded,
    PartData,
    Place,
    Preparation,
    RawPart,
    Reads,
    Source,
    Split,
    Stream,
)
from mtl_cli.data.cache import cache_folder
from mtl_cli.data.memory import GIB, free
from mtl_cli.data.options import SOURCES, TableFile
from mtl_cli.data.split import carve, keep_seen, limit, take
from mtl_cli.data.table.code import Encoding
from mtl_cli.data.table.encoding import encode, fit_encoding, joined
from mtl_cli.options import ConfigError
from mtl_cli.tasks.options import KINDS, Multilabel
from mtl_cli.tasks.target import column_of, column_read

MOST_WORKERS = 8
RawSplit = dict[str, RawPart]
"""One part's train, heldout, val and test."""


def parts_of(config: Config) -> dict[str, str]:
    """The part that each task reads."""
    return {name: task.part or next(iter(config.data.parts)) for name, task in config.tasks.items()}


def source_of(config: Config, part: str, thorough: bool = False) -> Source:
    """The source of a part, told which columns its tasks read. Raises: ConfigError: no task reads the part."""
    names = [name for name, its in parts_of(config).items() if its == part]
    if not names:
        raise ConfigError(f"data.parts.{part} has no task: give it one, or leave it out (~data.parts.{part})")
    labels, tags = _columns(config, names)
    wanted, folder = config.data.parts[part], cache_folder(config.cache_dir)
    home, options = Path(config.data_dir).expanduser(), config.data
    memory = free() // (2 * len(options.parts)) if options.memory is None else int(options.memory * GIB)
    workers = options.workers or min(MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1))
    place = Place(home, folder, options.seed, options.download, labels, tags, thorough, memory, workers)
    source: Source = SOURCES.target(wanted)(wanted, place)
    return source


def _columns(config: Config, names: Iterable[str]) -> tuple[dict[str, Reads], dict[str, str]]:
    """What tasks take the columns for that they read, and the separators of those that are read as tags alone."""
    labels: dict[str, Reads] = {}
    tags: dict[str, str] = {}
    whole: set[str] = set()
    for name in names:
        option = config.tasks[name]
        column, mapped = column_read(option.target)
        reads: Reads = "classes" if mapped else KINDS.target(option).reads
        labels[column] = "numbers" if "numbers" in (reads, labels.get(column)) else "classes"
        if isinstance(option, Multilabel) and not mapped:
            tags[column] = option.separator
        else:
            whole.add(column)
    return labels, {column: separator for column, separator in tags.items() if column not in whole}


def targeted(config: Config, part: str, source: Source, loaded: Loaded) -> tuple[RawSplit, dict[str, tuple[str, ...]]]:
    """Train, test and perhaps val with targets, and class names, by task. Coded together, so that codes agree.

    Raises: ConfigError: a target that does not fit its column; a piece without a row; a label that train never has.
    """
    pieces = {"train": loaded.train, "test": loaded.test} | ({} if loaded.val is None else {"val": loaded.val})
    for split, samples in pieces.items():
        if len(samples.inputs) == 0:
            raise ConfigError(f"data.parts.{part} has no sample in {split}: {source.where(split, 0)}")
    sizes = [len(samples.inputs) for samples in pieces.values()]
    whole = {
        name: Column(torch.cat([samples.columns[name].values for samples in pieces.values()]), column.classes)
        for name, column in loaded.train.columns.items()
    }
    targets: dict[str, dict[str, Tensor]] = {split: {} for split in pieces}
    classes: dict[str, tuple[str, ...]] = {}
    for name in (name for name, its in parts_of(config).items() if its == part):
        option = config.tasks[name]
        target, classes[name] = KINDS.target(option).encode(name, option, column_of(name, option.target, whole))
        for split, piece in zip(pieces, target.split(sizes), strict=True):
            targets[split][name] = piece
        seen(config, name, {split: its[name] for split, its in targets.items()}, classes[name], source)
    raw = {
        split: RawPart(samples.inputs, targets[split], torch.arange(len(samples.inputs)))
        for split, samples in pieces.items()
    }
    return {split: _limited(config, part, split, piece) for split, piece in raw.items()}, classes


def divide(
    config: Config, part: str, pieces: RawSplit, classes: Mapping[str, tuple[str, ...]], heldout: bool
) -> RawSplit:
    """Carves val where the source has none, and where a method asks for it heldout, from train."""

    def cut(rest: RawPart, share: float, word: str) -> tuple[RawPart, RawPart]:
        strata = [target for name, target in rest.targets.items() if classes[name]]
        stay, go = carve(strata, len(rest.inputs), share, config.data.seed, f"{part}/{word}")
        stay, go = keep_seen(strata, stay, go)
        return take(rest, stay), take(rest, go)

    found = dict(pieces)
    if "val" not in found:
        found["train"], found["val"] = cut(found["train"], config.data.validation, "val")
    if heldout:
        found["train"], found["heldout"] = cut(found["train"], config.data.held_out, "heldout")
    return found


def fit_tables(config: Config, inputs: Mapping[str, Tensor | Frame | Stream]) -> Encoding | None:
    """One encoding for all parts that are tables, so that a column means the same in each; None without tables.

    Raises: ConfigError: two tables differ in their input columns.
    """
    frames = {part: frame for part, frame in inputs.items() if isinstance(frame, Frame)}
    if not frames:
        return None
    first = next(iter(frames))
    for part, frame in frames.items():
        if frame.names != frames[first].names:
            odd = sorted(set(frame.names) ^ set(frames[first].names)) or ["their order"]
            raise ConfigError(
                f"data.parts.{part} has other input columns than {first}: tasks that share a backbone need the same. "
                f"They differ in {', '.join(odd[:4])}"
            )
    option = config.data.parts[first]
    assert isinstance(option, TableFile)
    return fit_encoding(joined(list(frames.values())), option.rare)


def table_preparation(encoding: Encoding) -> Preparation:
    """Of a table: its rows are encoded when they are read, and go into the model as they are."""
    return Preparation((0.0,) * encoding.width, (1.0,) * encoding.width, crop=0, flip=False, table=encoding)


def encoded(divided: Mapping[str, RawSplit], preparations: Mapping[str, Preparation]) -> dict[str, Split]:
    """The splits (train, heldout, val, test), by part, their tables encoded.

    Raises: ConfigError: a table has other input columns than the one that the encoding was read off.
    """
    splits: dict[str, Split] = {"train": {}, "heldout": {}, "val": {}, "test": {}}
    for part, pieces in divided.items():
        for split, piece in pieces.items():
            inputs, table = piece.inputs, preparations[part].table
            if isinstance(inputs, Frame):
                inputs = encode(inputs, _fitting(part, inputs, table))
            splits[split][part] = PartData(inputs, piece.targets, piece.origin)
    return splits


def _fitting(part: str, frame: Frame, table: Encoding | None) -> Encoding:
    found = ({*frame.numbers}, {*frame.dates}, {*frame.categories})
    if table is None or found != table.columns:
        raise ConfigError(
            f"data.parts.{part} has other input columns than the checkpoint was trained on: leave out what changes them"
        )
    return table


def _limited(config: Config, part: str, split: str, piece: RawPart) -> RawPart:
    """The rows that data.limit keeps; without a copy where it keeps all."""
    most = config.data.limit
    if most is None:
        return piece
    return take(piece, limit(len(piece.inputs), most, config.data.seed, part, split))
