"""A folder or zip file of images, one folder a class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mtl_cli.data.album import Album
from mtl_cli.data.archive import Archive, FolderArchive, archive, by_class, grouped
from mtl_cli.data.base import Column, Loaded, Place, Samples, Source
from mtl_cli.data.gathered import digest_of, gathered
from mtl_cli.data.images import Decoding, decoding
from mtl_cli.data.options import ImageFolder
from mtl_cli.data.split import carve, keep_seen, take
from mtl_cli.options import ConfigError

Groups = Mapping[str, list[str]]
"""Names of files by class."""


class ImageFolderSource(Source):
    """Images as train/<class>/* and test/<class>/*, or <class>/* alone; column `label`, its classes sorted by name."""

    def __init__(self, option: ImageFolder, place: Place) -> None:
        self.option = option
        self.place = place
        self._names: dict[str, tuple[str, ...]] = {}

    def load(self) -> Loaded:
        """Images, from the cache where they were decoded before.

        Raises: ConfigError: there is none, a class that train lacks, a broken image, or images of several sizes.
        """
        path = self.place.data_dir / Path(self.option.path).expanduser()
        content = archive(path) or (FolderArchive(path) if path.is_dir() else None)
        if content is None:
            raise ConfigError(
                f"no images at {path}: put a zip file, or a folder with train/<class>/* and test/<class>/*, or "
                "<class>/* alone, there, or set the part's path to where it is; data.download has nowhere to fetch "
                "them from"
            )
        how, groups = decoding(self.option), grouped(content)
        if any(groups.values()):
            loaded, names = divided(content, "image_folder", self.place, how, None)
        else:
            loaded, names = self._undivided(content, how)
        self._names = names
        return loaded

    def where(self, split: str, number: int) -> str:
        """The file."""
        return self._names[split][number] if split in self._names else super().where(split, number)

    def _undivided(self, content: Archive, how: Decoding) -> tuple[Loaded, dict[str, tuple[str, ...]]]:
        """Of <class>/*, a share of each class is test."""
        groups = by_class(content)
        if not groups:
            raise ConfigError(
                f"{content.path} has no images at train/<class>/* and test/<class>/*, nor at <class>/*: put some there"
            )
        names, column = _listed(content, "", groups, tuple(groups))
        stay, go = keep_seen(
            [column.values], *carve([column.values], len(names), self.option.test, self.place.seed, "image_folder/test")
        )
        if len(go) == 0:
            raise ConfigError(
                f"{content.path} keeps none of its {len(names)} images for test (test={self.option.test}, and a class "
                "of one image stays in train): raise test, or make folders train/<class>/* and test/<class>/*"
            )
        return _split(content, names, column, {"train": stay, "test": go}, how, "image_folder", self.place)


def divided(
    content: Archive, source: str, place: Place, how: Decoding, classes: tuple[str, ...] | None
) -> tuple[Loaded, dict[str, tuple[str, ...]]]:
    """Train and test of an archive of train/<class>/* and test/<class>/*, with the files of each.

    `classes` gives the names and their order, else they are train's, sorted.

    Raises: ConfigError: as `load`.
    """
    groups = grouped(content)
    order = classes if classes is not None else tuple(groups["train"])
    train, labels = _listed(content, "train", groups["train"], order)
    test, others = _listed(content, "test", groups["test"], order)
    column = Column(torch.cat([labels.values, others.values]), order)
    index = {"train": torch.arange(len(train)), "test": torch.arange(len(train), len(column.values))}
    return _split(content, train + test, column, index, how, source, place)


def _split(
    content: Archive,
    names: tuple[str, ...],
    column: Column,
    index: dict[str, Tensor],
    how: Decoding,
    source: str,
    place: Place,
) -> tuple[Loaded, dict[str, tuple[str, ...]]]:
    album = Album(content, names, tuple(f"{content.path}: {name}" for name in names), how)
    images = gathered(album, source, place)
    everything = Samples(images.inputs, {"label": column})
    pieces = {split: take(everything, rows) for split, rows in index.items()}
    digest = digest_of(images.digest, everything.columns, index)
    return Loaded(pieces["train"], pieces["test"], digest), {
        split: album.at(rows).said for split, rows in index.items()
    }


def _listed(content: Archive, part: str, groups: Groups, order: Sequence[str]) -> tuple[tuple[str, ...], Column]:
    """One part's files in the order of classes, with each one's class."""
    if not groups:
        raise ConfigError(f"{content.path} has no images at {part}/<class>/*: put some there")
    for name in groups:
        if name not in order:
            raise ConfigError(
                f"{content.path}: every class of {part} should be one of {', '.join(order)}. Found {part}/{name}"
            )
    names: list[str] = []
    labels: list[int] = []
    for index, name in enumerate(order):
        names += groups.get(name, [])
        labels += [index] * len(groups.get(name, []))
    return tuple(names), Column(torch.tensor(labels, dtype=torch.long), tuple(order))
