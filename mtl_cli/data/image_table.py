"""Images that a table names, with any number of label columns, which may stand in several files."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from mtl_cli.data.album import Album
from mtl_cli.data.archive import Archive, FolderArchive, ZipArchive
from mtl_cli.data.base import MISSING, Column, Loaded, Place, Reads, Samples, Source, labelled
from mtl_cli.data.gathered import digest_of, gathered
from mtl_cli.data.images import decoding
from mtl_cli.data.options import ImageTable
from mtl_cli.data.split import carve, keep_seen, take
from mtl_cli.data.table.frame import has
from mtl_cli.data.table.labels import joined_labels, label
from mtl_cli.data.table.read import read
from mtl_cli.data.table.rows import Layout
from mtl_cli.data.tags import strata
from mtl_cli.options import ConfigError, text

SPLITS = ("train", "val", "test")


class _File(NamedTuple):
    """One file, read. places: of its rows among all images. labels: those columns that it has."""

    name: str
    places: Tensor
    labels: dict[str, Column]


class ImageTableSource(Source):
    """Images with the labels that one or several files give them, joined by the images' paths."""

    def __init__(self, option: ImageTable, place: Place) -> None:
        self.option = option
        self.place = place
        self._names = [option.labels] if isinstance(option.labels, str) else option.labels
        self._rows: dict[str, str] = {}
        self._index: dict[str, Tensor] = {}

    def load(self) -> Loaded:
        """Images, from the cache where they were decoded before.

        Raises: ConfigError: one line with file, row and column.
        """
        option = self.option
        _apart(option, self._names, self.place.labels)
        content = _content(self.place.data_dir / Path(option.path).expanduser())
        there, above = _there(content)
        files = [self._read(name, there, above, content) for name in self._names]
        first = len(self._rows)
        if option.test_path is not None:
            files.append(self._read(option.test_path, there, above, content))
        columns = {name: self._joined(name, files) for name in self.place.labels}
        self._index = self._divided(files, columns, first)
        said = tuple(f"{where}, column {option.column}: {name}" for name, where in self._rows.items())
        images = gathered(Album(content, tuple(self._rows), said, decoding(option)), "image_table", self.place)
        everything = Samples(images.inputs, columns)
        pieces = {split: take(everything, index) for split, index in self._index.items()}
        for name, column in pieces["train"].columns.items():
            if not labelled(column.values).any():
                raise ConfigError(f"{self._names[0]}, column {name}: no row of train has a label: leave out its task")
        digest = digest_of(images.digest, columns, self._index)
        return Loaded(pieces["train"], pieces["test"], digest, pieces.get("val"))

    def where(self, split: str, number: int) -> str:
        """The file, and the row after its header; of an image in several files, those in the first."""
        return list(self._rows.values())[int(self._index[split][number])] if self._index else self._names[0]

    def _read(self, name: str, there: frozenset[str], above: str, content: Archive) -> _File:
        """A file; its images are added to those that are known."""
        option = self.option
        table = read(self.place.data_dir / Path(name).expanduser(), name, Layout(option.delimiter, option.encoding))
        has(table, [option.column], name)
        order = {image: i for i, image in enumerate(self._rows)}
        rows: dict[str, int] = {}
        for row, cell in enumerate(table.column(option.column).to_pylist()):
            here = f"{name}, row {row + 1}, column {option.column}"
            image = _named(cell, there, above, here, content)
            if image in rows:
                raise ConfigError(
                    f"{here}: {text(cell)} stands in row {rows[image] + 1} already: leave one of them out"
                )
            if name == option.test_path and image in order:
                raise ConfigError(
                    f"{here}: {text(cell)} is in {self._rows[image]} too, which would be both train and test"
                )
            rows[image] = row
            self._rows.setdefault(image, f"{name}, row {row + 1}")
        order = {image: i for i, image in enumerate(self._rows)}
        return _File(name, torch.tensor([order[image] for image in rows]), self._labels(table, name))

    def _labels(self, table: pa.Table, name: str) -> dict[str, Column]:
        wanted: dict[str, Reads] = dict(self.place.labels)
        if self.option.split is not None:
            wanted[self.option.split] = "classes"
        if len(self._names) == 1:
            has(table, wanted, name)
        return {
            column: label(table, column, reads, self.option, name)
            for column, reads in wanted.items()
            if column in table.schema.names
        }

    def _joined(self, name: str, files: list[_File]) -> Column:
        """One column over all images; missing where no file has a label.

        Raises: ConfigError: no file has the column, or two have different labels of an image.
        """
        having = [file for file in files if name in file.labels]
        if not having:
            raise ConfigError(f"none of {', '.join(self._names)} has a column {name!r}: name one that is there")
        column = joined_labels([file.labels[name] for file in having])
        numeric = column.classes is None
        values = torch.full((len(self._rows),), torch.nan if numeric else MISSING, dtype=column.values.dtype)
        pieces = column.values.split([len(file.places) for file in having])
        for file, piece in zip(having, pieces, strict=True):
            told = labelled(piece)
            before = values[file.places]
            wrong = (told & labelled(before) & (piece != before)).nonzero()[:, 0].tolist()
            if wrong:
                other = list(self._rows.values())[int(file.places[wrong[0]])]
                raise ConfigError(
                    f"{file.name}, row {wrong[0] + 1}, column {name}: its label is another one than in {other}: leave "
                    "one of them empty"
                )
            values[file.places[told]] = piece[told]
        return Column(values, column.classes)

    def _divided(self, files: list[_File], columns: Mapping[str, Column], first: int) -> dict[str, Tensor]:
        """Which images are train, val and test."""
        option, count = self.option, len(self._rows)
        if option.test_path is not None:
            return {"train": torch.arange(first), "test": torch.arange(first, count)}
        if option.split is not None:
            return self._told(self._joined(option.split, files), option.split)
        over = strata(dict(columns), self.place.tags)
        stay, go = keep_seen(over, *carve(over, count, option.test, self.place.seed, "image_table/test"))
        if len(go) == 0:
            raise ConfigError(
                f"{self._names[0]} keeps none of its {count} images for test (test={option.test}, and a class of one "
                "image stays in train): raise test, or set test_path or split"
            )
        return {"train": stay, "test": go}

    def _told(self, column: Column, name: str) -> dict[str, Tensor]:
        """By a column. Raises: ConfigError: it says something else, or of no image that it is train or test."""
        classes = column.classes or ()
        for where, code in zip(self._rows.values(), column.values.tolist(), strict=True):
            if code == MISSING or classes[code] not in SPLITS:
                found = "it is empty" if code == MISSING else text(classes[code])
                raise ConfigError(f"{where}, column {name}: {found}: it should be train, val or test")
        for split in ("train", "test"):
            if split not in classes:
                raise ConfigError(f"{self._names[0]}, column {name}: no row is {split}: there should be some")
        return {split: (column.values == classes.index(split)).nonzero()[:, 0] for split in SPLITS if split in classes}


def _apart(option: ImageTable, names: list[str], labels: Mapping[str, Reads]) -> None:
    """Raises: ConfigError: a column has two uses, a file is named twice, or several things say which rows are test."""
    if option.test_path is not None and (option.split is not None or option.test_path in names):
        raise ConfigError(f"test_path={option.test_path} should be another file, and split then null: take one of them")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"labels names {name} twice: name it once")
    for column in labels:
        if column in (option.column, option.split):
            raise ConfigError(f"{names[0]}: column {column} cannot be a target: it names the images, or their split")


def _content(path: Path) -> Archive:
    if path.is_dir():
        return FolderArchive(path)
    if path.is_file():
        return ZipArchive(path)
    raise ConfigError(
        f"no images at {path}: set the part's path to the folder or zip file that the table's paths are in"
    )


def _there(content: Archive) -> tuple[frozenset[str], str]:
    """The files, and the one folder of a zip that holds them all, which a table may leave out."""
    names = frozenset(content.names())
    tops = {name.partition("/")[0] for name in names if "/" in name} | {"" for name in names if "/" not in name}
    return names, f"{tops.pop()}/" if len(tops) == 1 and isinstance(content, ZipArchive) else ""


def _named(cell: object, there: frozenset[str], above: str, here: str, content: Archive) -> str:
    """The file that a cell names. Raises: ConfigError: the cell is empty, or there is no such file."""
    if cell is None or not str(cell).strip():
        raise ConfigError(f"{here}: it is empty: name the image, or leave the row out")
    image = str(PurePosixPath(str(cell).strip().replace("\\", "/")))
    for name in (image, above + image):
        if name in there:
            return name
    raise ConfigError(f"{here}: {text(cell)} is not in {content.path}: paths are told from there")
