"""A table as a source: its columns as inputs and labels, its rows as train, val and test."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_cli.data.base import Column, Frame, Loaded, Place, Samples, Source, labelled
from mtl_cli.data.cache import file_digest
from mtl_cli.data.options import TableFile
from mtl_cli.data.split import carve, keep_seen, take
from mtl_cli.data.table.cells import words
from mtl_cli.data.table.encoding import joined
from mtl_cli.data.table.frame import Inputs, empty, frame, has, refuse
from mtl_cli.data.table.labels import joined_labels, label
from mtl_cli.data.table.read import read
from mtl_cli.data.table.rows import Layout
from mtl_cli.data.tags import strata
from mtl_cli.options import ConfigError, text

SPLITS = ("train", "val", "test")


class _File(NamedTuple):
    """One file, read: its name, its rows, its label columns and the column that splits it."""

    name: str
    inputs: Frame
    labels: dict[str, Column]
    split: Column | None


class TableSource(Source):
    """Rows of one file, or of one for train and one for test; labels are words or numbers, as the tasks read them."""

    def __init__(self, option: TableFile, place: Place) -> None:
        self.option = option
        self.place = place
        self._files: list[tuple[str, int]] = []
        self._index: dict[str, Tensor] = {}

    def load(self) -> Loaded:
        """Reads, and keeps which row each sample comes from.

        Raises: ConfigError: one line with file, row and column.
        """
        option = self.option
        _apart(option, tuple(self.place.labels))
        paths = {
            name: self.place.data_dir / Path(name).expanduser() for name in (option.path, option.test_path) if name
        }
        files = [self._read(path, name) for name, path in paths.items()]
        self._files = [(file.name, len(file.inputs)) for file in files]
        labels = {name: joined_labels([file.labels[name] for file in files]) for name in self.place.labels}
        everything = Samples(joined([file.inputs for file in files]), labels)
        self._index = self._divided(files, labels)
        parts = {split: take(everything, index) for split, index in self._index.items()}
        for name, column in parts["train"].columns.items():
            if not labelled(column.values).any():
                raise ConfigError(f"{option.path}, column {name}: no row of train has a label: leave out its task")
        return Loaded(parts["train"], parts["test"], file_digest(paths.values()), parts.get("val"))

    def where(self, split: str, number: int) -> str:
        """The file, and the row after its header."""
        row, (first, rows) = int(self._index[split][number]), self._files[0]
        return f"{first}, row {row + 1}" if row < rows else f"{self._files[1][0]}, row {row - rows + 1}"

    def _read(self, path: Path, name: str) -> _File:
        option = self.option
        layout = Layout(option.delimiter, option.encoding, None if option.columns is None else tuple(option.columns))
        table = read(path, name, layout)
        inputs = Inputs(option.numbers, option.dates, option.categories)
        has(table, [*inputs.numbers, *inputs.dates, *inputs.categories, *self.place.labels, *option.codes], name)
        has(table, [] if option.split is None else [option.split], name)
        rows, wrong = frame(table, inputs, option)
        refuse(wrong, name)
        labels = {column: label(table, column, reads, option, name) for column, reads in self.place.labels.items()}
        split = None if option.split is None else words(table.column(option.split), empty(option, option.split))
        return _File(name, rows, labels, split)

    def _divided(self, files: list[_File], labels: dict[str, Column]) -> dict[str, Tensor]:
        """Which rows, counted over all files, are train, val and test."""
        option, first = self.option, len(files[0].inputs)
        if len(files) == 2:
            return {"train": torch.arange(first), "test": torch.arange(first, first + len(files[1].inputs))}
        if files[0].split is not None:
            return _told(files[0].split, option)
        over = strata(labels, self.place.tags)
        stay, go = keep_seen(over, *carve(over, first, option.test, self.place.seed, "table/test"))
        if len(go) == 0:
            raise ConfigError(
                f"{option.path} keeps none of its {first} rows for test (test={option.test}, and a class of one row "
                "stays in train): raise test, or set test_path or split"
            )
        return {"train": stay, "test": go}


def _apart(option: TableFile, labels: tuple[str, ...]) -> None:
    """Raises: ConfigError: a column has two uses, there is no input, or several things say which rows are test."""
    uses = [*option.numbers, *option.dates, *option.categories]
    if not uses:
        raise ConfigError(f"{option.path} has no input: name its columns in numbers, categories or dates")
    if option.test_path is not None and (option.split is not None or option.test_path == option.path):
        raise ConfigError(f"test_path={option.test_path} should be another file, and split then null: take one of them")
    for column, count in Counter([*uses, *([option.split] if option.split else [])]).items():
        if count > 1:
            raise ConfigError(f"{option.path}: column {column} has {count} uses: name it in one of the lists")
    for column in labels:
        if column in uses or column == option.split:
            raise ConfigError(
                f"{option.path}: column {column} is an input and a target, which would tell the answer: take it out "
                "of numbers, categories, dates and split"
            )


def _told(column: Column, option: TableFile) -> dict[str, Tensor]:
    """Where a column says which rows are train, val and test. Raises: ConfigError: it says something else."""
    names = column.classes or ()
    for code, name in enumerate(names):
        if name not in SPLITS:
            row = int((column.values == code).nonzero()[0])
            raise ConfigError(
                f"{option.path}, row {row + 1}, column {option.split}: {text(name)} should be train, val or test"
            )
    if (column.values < 0).any():
        row = int((column.values < 0).nonzero()[0])
        raise ConfigError(f"{option.path}, row {row + 1}, column {option.split}: it is empty: train, val or test")
    for name in ("train", "test"):
        if name not in names:
            raise ConfigError(f"{option.path}, column {option.split}: no row is {name}: there should be some")
    return {name: (column.values == names.index(name)).nonzero()[:, 0] for name in SPLITS if name in names}
