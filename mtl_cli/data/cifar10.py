"""CIFAR-10, from the batches that its authors publish or from images in folders.

Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
"""

from pathlib import Path

import torch

from mtl_cli.data.archive import Archive, archive
from mtl_cli.data.base import Column, Loaded, Place, Samples, Source
from mtl_cli.data.cache import cached, file_digest
from mtl_cli.data.image_folder import divided
from mtl_cli.data.images import Decoding
from mtl_cli.data.options import Cifar10
from mtl_cli.options import ConfigError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LAYOUT = "cifar-10-batches-py"
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")


class Cifar10Source(Source):
    """CIFAR-10: 50,000 and 10,000 images of 32x32; column `label`, the ten classes in their usual order."""

    def __init__(self, option: Cifar10, place: Place) -> None:
        self.option = option
        self.place = place

    def load(self) -> Loaded:
        """Decoded images, from the cache where they were decoded before."""
        found = self._find()
        if found is None and self.place.download and self.option.path is None:
            found = self._fetch()
        if found is None:
            raise ConfigError(self._nothing())
        if isinstance(found, Archive):
            return divided(found, "cifar10", self.place, Decoding(None, "stretch", colour=True), CLASSES)[0]
        root = found
        digest = file_digest([root / LAYOUT / name for name in BATCHES])
        return cached(self.place.cache_dir, "cifar10", (digest,), lambda: _batches(root))

    def _find(self) -> Archive | Path | None:
        """An archive of images, or the folder that holds torchvision's; whichever comes first."""
        for place in self._places():
            if place.name == LAYOUT:
                if all((place / name).is_file() for name in BATCHES):
                    return place.parent
            elif (content := archive(place)) is not None:
                return content
        return None

    def _places(self) -> list[Path]:
        here = self.place.data_dir
        if self.option.path is not None:
            return [here / self.option.path, here / self.option.path / LAYOUT]
        return [here / LAYOUT, here / "cifar10", here / "cifar10.zip", *sorted((here / "cifar10").glob("*.zip"))]

    def _nothing(self) -> str:
        """The line for whoever has no CIFAR-10 yet."""
        here = self.place.data_dir
        if self.option.path is not None:
            return (
                f"no CIFAR-10 at {here / self.option.path}: put {LAYOUT}, or a folder or zip file of train/<class>/* "
                "and test/<class>/*, there; or leave the part's path out and set data.download=true to fetch it"
            )
        return (
            f"no CIFAR-10 in {here} (looked for {LAYOUT}, cifar10, cifar10.zip, cifar10/*.zip): set data.download=true "
            "to fetch it, or put one of them there (folders and zip files hold train/<class>/* and test/<class>/*) or "
            "set data_dir to where it is"
        )

    def _fetch(self) -> Path:
        """Lets torchvision download into data_dir, and check what came."""
        from torchvision.datasets import CIFAR10

        try:
            CIFAR10(self.place.data_dir, download=True)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"CIFAR-10 could not be fetched into {self.place.data_dir} ({_line(error)}): try again, or put "
                f"{LAYOUT} there by hand"
            ) from None
        return self.place.data_dir


def _batches(root: Path) -> tuple[Samples, Samples]:
    """Torchvision's reading of the batches, after it has checked their md5."""
    from torchvision.datasets import CIFAR10

    try:
        read = [CIFAR10(root, train=train) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"{root / LAYOUT} is not CIFAR-10 as published ({_line(error)}): remove it and set data.download=true, or "
            "put a whole copy there"
        ) from None
    train, test = (
        Samples(
            torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(),
            {"label": Column(torch.tensor(part.targets), tuple(part.classes))},
        )
        for part in read
    )
    return train, test


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
