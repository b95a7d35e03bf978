"""Single images from anywhere, as a trained model takes them."""

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mtl_cli.data.images import BROKEN, Decoding, decoding, pixels
from mtl_cli.data.items import Fault, Items
from mtl_cli.data.options import ImageFiles, ImageTable
from mtl_cli.data.suffixes import SUFFIXES
from mtl_cli.data.table.frame import has
from mtl_cli.data.table.read import LINES, PARQUET, TABS, rows
from mtl_cli.data.table.rows import Layout
from mtl_cli.options import ConfigError, Option

LISTS = (*PARQUET, *LINES, *TABS, ".csv")
WHITE = 255.0
"""The raw value that 1 stands for in an image that a shipped model takes."""


class Listing(NamedTuple):
    """How a table names images: in which column, from which folders on, after its own; and how it is written."""

    column: str = "path"
    folders: tuple[Path, ...] = ()
    delimiter: str | None = None
    encoding: str = "utf-8"


PLAIN = Listing()


def listing(parts: Mapping[str, Option], data_dir: Path) -> Listing:
    """As the table of training did, where there was one."""
    for option in parts.values():
        if isinstance(option, ImageTable):
            folder = data_dir / Path(option.path).expanduser()
            return Listing(option.column, (folder,), option.delimiter, option.encoding)
    return PLAIN


def paths(given: str, stdin: str, lines: Iterable[str], how: Listing = PLAIN) -> Iterable[Path]:
    """The image that `given` names, those below a folder in sorted order, or those of `lines` where it is `stdin`.

    Those of a table are what one of its columns names.

    Raises: ConfigError: the folder holds no image; the table cannot be read, or has no such column.
    """
    if given == stdin:
        return (Path(line.rstrip("\r\n")) for line in lines if line.strip())
    path = Path(given).expanduser()
    if not path.is_dir():
        return _listed(path, given, how) if Path(given.lower().removesuffix(".gz")).suffix in LISTS else [path]
    found = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    if not found:
        raise ConfigError(f"input={given} holds no image: name a folder with files such as .png or .jpg below it")
    return sorted(found)


def _listed(table: Path, name: str, how: Listing) -> Iterator[Path]:
    for piece in rows(table, name, Layout(how.delimiter, how.encoding, only=frozenset({how.column})), None):
        has(piece.table, [how.column], name)
        for number, cell in zip(piece.numbers, piece.table.column(how.column).to_pylist(), strict=True):
            image = str(cell or "").strip()
            if not image:
                raise ConfigError(f"{name}, row {number}, column {how.column}: it is empty: it should name an image")
            places = [folder / image for folder in (table.parent, *how.folders)]
            yield next((place for place in places if place.is_file()), places[0])


def trained_on(parts: Mapping[str, Option]) -> Decoding | None:
    """How the images of training were decoded, where they came from files.

    Raises: ConfigError: those of two parts in two ways, so that no file has one.
    """
    ways = {part: decoding(option) for part, option in parts.items() if isinstance(option, ImageFiles)}
    if len(set(ways.values())) > 1:
        raise ConfigError(
            f"data.parts {' and '.join(ways)} decode images in different ways (size, resize, colour), so that it is "
            "open which one input has: export the model instead"
        )
    return next(iter(ways.values()), None)


class UnreadableError(Exception):
    """A file that is no image; its text is the one line that says so."""


class Reader:
    """Reads a file as training did: in its mode, brought to its size in its way.

    Args:
        shape: of the model's input, (C, H, W).
        after: whether training resized decoded images on the device (a preparation has a size), in which way one of
            any size is brought to the model's; else the decoder does.
        how: training's images were decoded; None: they came from no files, such as MNIST's.
    Raises: ConfigError: the model takes no images of one or three channels.
    """

    def __init__(self, shape: tuple[int, ...], after: bool, how: Decoding | None = None) -> None:
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ConfigError(f"mtl predict reads images. Found a model of inputs of shape {shape}: export it instead")
        self._channels = shape[0]
        self._size = (shape[1], shape[2])
        how = how or Decoding(None, "stretch", colour=shape[0] == 3)
        self._how = how if after or how.size is not None else how._replace(size=self._size)

    def __call__(self, path: Path) -> Tensor:
        """One image. Shapes: -> (C, H, W) float32 in [0, 255]. Raises: UnreadableError."""
        try:
            found = pixels(path, self._how)
        except BROKEN as error:
            reason = " ".join(str(error).split()).replace(f" '{path}'", "")
            raise UnreadableError(f"{path} cannot be read as an image ({reason})") from None
        image = torch.tensor(found, dtype=torch.float32).expand(self._channels, -1, -1)
        if image.shape[1:] == self._size:
            return image
        return interpolate(image[None], self._size, mode="bilinear", antialias=True)[0]


def images(files: Iterable[Path], reader: Reader, size: int) -> Generator[Items]:
    """Batches of images in [0, 1], read in threads; those that cannot be read are faults, in the order of the files."""

    def read(path: Path) -> Tensor | UnreadableError:
        try:
            return reader(path)
        except UnreadableError as error:
            return error

    rest = iter(files)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        while batch := list(islice(rest, size)):
            yield _items(batch, list(pool.map(read, batch)))


def _items(batch: list[Path], read: list[Tensor | UnreadableError]) -> Items:
    names: list[str] = []
    found: list[Tensor] = []
    faults: list[Fault] = []
    for path, image in zip(batch, read, strict=True):
        if isinstance(image, UnreadableError):
            faults.append(Fault(len(names), str(image)))
        else:
            names.append(_text(path))
            found.append(image / WHITE)
    return Items(names, torch.stack(found) if found else torch.zeros(0), faults)


def _text(path: Path) -> str:
    """The path as text; bytes that are no text are marked."""
    return os.fsencode(path).decode("utf-8", "replace")
