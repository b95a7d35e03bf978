"""A folder or a zip file of images as train/<class>/* and test/<class>/*, read without unpacking."""

import hashlib
import os
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath

from mtl_cli.data.cache import file_digest
from mtl_cli.data.suffixes import SUFFIXES
from mtl_cli.options import ConfigError


class Archive(ABC):
    """Files by name, from anywhere."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def digest(self) -> str:
        """What changes when the content does."""

    @abstractmethod
    def names(self) -> list[str]:
        """The path of every file, from the archive's root, with slashes."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of one file; may be called from several threads."""


class FolderArchive(Archive):
    """A folder. Its digest is of relative paths, sizes and times of change, as reading every file would take long."""

    def digest(self) -> str:
        """SHA-256 of each file's relative path, size and time of change."""
        total = hashlib.sha256()
        for name in self.names():
            facts = (self.path / name).stat()
            total.update(f"{name}/{facts.st_size}/{facts.st_mtime_ns}\n".encode())
        return total.hexdigest()

    def names(self) -> list[str]:
        """Every file below the folder, sorted; links are followed."""
        found = []
        for folder, _, files in os.walk(self.path, followlinks=True):
            base = Path(folder).relative_to(self.path).as_posix()
            found += [f"{base}/{file}" if base != "." else file for file in files]
        return sorted(found)

    def read(self, name: str) -> bytes:
        """The content of one file."""
        return (self.path / name).read_bytes()


class ZipArchive(Archive):
    """A zip file, opened when it is first looked into: its digest needs no index of 60,000 names.

    Each process opens it for itself, as a place in a file is shared by all that a process was forked into.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_opened": None}

    def digest(self) -> str:
        """SHA-256 of the whole file."""
        return file_digest([self.path])

    def names(self) -> list[str]:
        """Every file in it, sorted."""
        return sorted(info.filename for info in self._zip.infolist() if not info.is_dir())

    def read(self, name: str) -> bytes:
        """The content of one file, checked against its CRC."""
        return self._zip.read(name)

    @property
    def _zip(self) -> zipfile.ZipFile:
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = (os.getpid(), zipfile.ZipFile(self.path))
            except (zipfile.BadZipFile, OSError) as error:
                raise ConfigError(f"{self.path} is no zip file that can be read ({error})") from None
        return self._opened[1]


def archive(path: Path) -> Archive | None:
    """The archive at `path`: a zip file, or a folder that holds train; None where there is neither."""
    if path.is_file():
        return ZipArchive(path)
    return FolderArchive(path) if (path / "train").is_dir() else None


def grouped(content: Archive) -> dict[str, dict[str, list[str]]]:
    """The images' names as {"train": {class: names}, "test": {class: names}}, all sorted.

    Files that are hidden or have no suffix of an image are left out. A zip may hold all in one folder.
    """
    images = _images(content)
    depth = _depth(images)
    groups: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for name in images:
        place = name.parts[depth:]
        if len(place) > 2 and place[0] in groups:
            groups[place[0]].setdefault(place[1], []).append(str(name))
    return {part: dict(sorted(classes.items())) for part, classes in groups.items()}


def by_class(content: Archive) -> dict[str, list[str]]:
    """The images' names as {class: names}, all sorted, where folders are classes; all may be in one folder."""
    images = _images(content)
    depth = int(len({name.parts[0] for name in images}) == 1 and all(len(name.parts) > 2 for name in images))
    groups: dict[str, list[str]] = {}
    for name in images:
        place = name.parts[depth:]
        if len(place) > 1:
            groups.setdefault(place[0], []).append(str(name))
    return dict(sorted(groups.items()))


def _images(content: Archive) -> list[PurePosixPath]:
    """Files with a suffix of an image; neither hidden nor in a hidden folder, such as what a Mac puts beside them."""
    names = [PurePosixPath(name) for name in content.names()]
    return [
        name
        for name in names
        if name.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in name.parts)
        and name.parts[0] != "__MACOSX"
    ]


def _depth(images: list[PurePosixPath]) -> int:
    """How many folders stand above `train` and `test`: 0, or 1 where everything is in one folder."""
    return 0 if any(name.parts[0] in ("train", "test") for name in images) else 1
