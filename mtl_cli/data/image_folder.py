"""A folder or zip file of images, one folder a class."""

from collections.abc import Sequence

import torch

from mtl_cli.data.archive import Archive, archive, grouped
from mtl_cli.data.base import Column, Loaded, Place, Samples, Source
from mtl_cli.data.cache import cached
from mtl_cli.data.images import decode_all
from mtl_cli.data.options import ImageFolder
from mtl_cli.options import ConfigError


class ImageFolderSource(Source):
    """Images as train/<class>/* and test/<class>/*; column `label`, its classes sorted by name."""

    def __init__(self, option: ImageFolder, place: Place) -> None:
        self.option = option
        self.place = place

    def load(self) -> Loaded:
        """Decoded images, from the cache where they were decoded before."""
        path = self.place.data_dir / self.option.path
        content = archive(path)
        if content is None:
            raise ConfigError(
                f"no images at {path}: put a zip file, or a folder with train/<class>/* and test/<class>/*, there, or "
                "set the part's path to where it is; data.download has nowhere to fetch them from"
            )
        return load_archive(
            content, "image_folder", self.place, size=self.option.size, colour=self.option.colour, classes=None
        )


def load_archive(
    content: Archive,
    source: str,
    place: Place,
    *,
    size: int | None,
    colour: bool,
    classes: tuple[str, ...] | None,
) -> Loaded:
    """Train and test of an archive; `classes` gives the names and their order, else they are train's, sorted.

    Raises: ConfigError: no images, a class that train lacks, a broken image, or images of several sizes.
    """

    def build() -> tuple[Samples, Samples]:
        groups = grouped(content)
        order = classes if classes is not None else tuple(groups["train"])
        names = {part: _listed(content, part, groups[part], order) for part in ("train", "test")}
        images = decode_all(content, names["train"][0] + names["test"][0], size=size, colour=colour)
        train, test = images.split([len(names["train"][0]), len(names["test"][0])])
        return (
            Samples(train, {"label": Column(torch.tensor(names["train"][1], dtype=torch.long), order)}),
            Samples(test, {"label": Column(torch.tensor(names["test"][1], dtype=torch.long), order)}),
        )

    words = (content.digest(), f"size={size}", f"colour={colour}", f"classes={classes}")
    return cached(place.cache_dir, source, words, build)


def _listed(
    content: Archive, part: str, groups: dict[str, list[str]], order: Sequence[str]
) -> tuple[list[str], list[int]]:
    """One part's files in the order of classes, with each one's class."""
    if not groups:
        raise ConfigError(f"{content.path} has no images at {part}/<class>/*: put some there")
    for name in groups:
        if name not in order:
            raise ConfigError(
                f"{content.path}: every class of {part} should be one of {', '.join(order)}. Found {part}/{name}"
            )
    names, labels = [], []
    for index, name in enumerate(order):
        names += groups.get(name, [])
        labels += [index] * len(groups.get(name, []))
    return names, labels
