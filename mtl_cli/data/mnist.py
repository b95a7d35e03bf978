"""MNIST and Fashion-MNIST, from the idx files that their authors publish.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database, 1998; H. Xiao, K. Rasul, R. Vollgraf,
Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017.
"""

from pathlib import Path
from typing import Any

from mtl_cli.data.base import Column, Loaded, Place, Samples, Source
from mtl_cli.data.cache import cached, file_digest
from mtl_cli.data.options import Mnist
from mtl_cli.options import ConfigError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class MnistSource(Source):
    """60,000 and 10,000 grey images of 28x28; column `label`, ten classes with torchvision's names."""

    def __init__(self, option: Mnist, place: Place) -> None:
        self.option = option
        self.place = place

    def load(self) -> Loaded:
        """The images, from the cache where they were read before."""
        raw = self.place.data_dir / self.option.variant / "raw"
        if not all((raw / name).is_file() for name in FILES):
            if not self.place.download:
                raise ConfigError(
                    f"no {self.option.variant} in {raw} (looked for {', '.join(FILES)}): set data.download=true to "
                    "fetch it, or put these files there or set data_dir to where they are"
                )
            self._fetch(raw)
        digest = file_digest([raw / name for name in FILES])
        return cached(self.place.cache_dir, self.option.variant.lower(), (digest,), lambda: self._read(raw))

    def _fetch(self, raw: Path) -> None:
        try:
            _torchvision(self.option.variant)(self.place.data_dir, download=True)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"{self.option.variant} could not be fetched into {raw} ({reason}): try again, or put its files there "
                "by hand"
            ) from None

    def _read(self, raw: Path) -> tuple[Samples, Samples]:
        kind = _torchvision(self.option.variant)
        try:
            read = [kind(self.place.data_dir, train=train) for train in (True, False)]
        except (OSError, RuntimeError, ValueError, AssertionError, KeyError, IndexError) as error:
            raise ConfigError(
                f"{raw} is damaged ({type(error).__name__}: {error}): remove it and set data.download=true, or put "
                "whole files there"
            ) from None
        for part in read:
            if len(part.data) != len(part.targets):
                raise ConfigError(
                    f"{raw} should have a label for each image. Found {len(part.targets)} for {len(part.data)}"
                )
        train, test = (
            Samples(part.data[:, None].contiguous(), {"label": Column(part.targets.long(), tuple(part.classes))})
            for part in read
        )
        return train, test


def _torchvision(variant: str) -> Any:
    from torchvision.datasets import MNIST, FashionMNIST

    return {"MNIST": MNIST, "FashionMNIST": FashionMNIST}[variant]
