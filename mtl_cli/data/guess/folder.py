"""A folder of images as a task set: its classes, and the sizes and colours of some of its images."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mtl_cli.data.suffixes import SUFFIXES
from mtl_cli.options import ConfigError

LOOKED_AT = 200
"""Images of which size and colour are read."""
GREY = ("1", "L", "LA", "I", "I;16", "F")
SIDES = (32, 64, 96, 128, 224)


class Pictures(NamedTuple):
    """How images look. size: the side that all are made to have; None: they have one size. sizes: in words."""

    size: int | None
    sizes: str
    colour: bool


class FolderGuess(NamedTuple):
    """What is made of a folder of images.

    counts: by split, images of each class; all in train where the folder has no splits.
    """

    counts: Mapping[str, Mapping[str, int]]
    pictures: Pictures

    @property
    def classes(self) -> tuple[str, ...]:
        """Of train, in order."""
        return tuple(self.counts["train"])


def look(path: Path, name: str) -> FolderGuess:
    """Raises: ConfigError: there are no classes as folders of images, in it or in train and test, or one only."""
    splits = ("train", "test") if (path / "train").is_dir() else ("train",)
    found = {split: _classes(path / split if len(splits) > 1 else path) for split in splits}
    for split, classes in found.items():
        if not classes:
            where = f"{split}/<class>/*" if len(splits) > 1 else "train/<class>/*, or at <class>/*"
            raise ConfigError(f"{name} has no images at {where}: put some there, or name a table")
    strange = [its for its in found.get("test", ()) if its not in found["train"]]
    if strange:
        raise ConfigError(f"{name}: test/{strange[0]} is a class that train lacks: leave it out, or put some in train")
    if len(found["train"]) < 2:
        raise ConfigError(f"{name} has one class only, {next(iter(found['train']))}: there is nothing to tell apart")
    images = [image for classes in found.values() for its in classes.values() for image in its]
    counts = {split: {its: len(images) for its, images in classes.items()} for split, classes in found.items()}
    return FolderGuess(counts, pictures(images, name))


def pictures(images: list[Path], name: str) -> Pictures:
    """Looks at some of them. Raises: ConfigError: none can be read."""
    sizes, colour = _looked_at(images[:: max(1, len(images) // LOOKED_AT)], name)
    if len(sizes) == 1:
        ((width, height),) = sizes
        return Pictures(None, f"all of {width}x{height} that were looked at", colour)
    small, large = min(sizes, key=lambda s: s[0] * s[1]), max(sizes, key=lambda s: s[0] * s[1])
    middle = sorted(min(size) for size in sizes)[len(sizes) // 2]
    side = max((side for side in SIDES if side <= middle), default=SIDES[0])
    return Pictures(side, f"{small[0]}x{small[1]} to {large[0]}x{large[1]}", colour)


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, as the source finds them; a class without any is none."""
    if not folder.is_dir():
        return {}
    found = {
        its.name: sorted(f for f in its.rglob("*") if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        for its in sorted(folder.iterdir())
        if its.is_dir()
    }
    return {name: images for name, images in found.items() if images}


def _looked_at(images: list[Path], name: str) -> tuple[set[tuple[int, int]], bool]:
    """Sizes, and whether one is in colour; those that cannot be read are for `mtl data` to name."""
    sizes, modes = set(), set()
    for path in images:
        try:
            with Image.open(path) as image:
                sizes.add(image.size)
                modes.add(image.mode)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    if not sizes:
        raise ConfigError(f"{name}: none of {len(images)} images that were looked at can be read, such as {images[0]}")
    return sizes, any(mode not in GREY for mode in modes)
