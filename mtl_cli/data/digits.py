"""scikit-learn's handwritten digits, with how far each one leans.

Source: E. Alpaydin, C. Kaynak, Optical recognition of handwritten digits, UCI 1998.
"""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtl_cli.data.base import Column, Loaded, Place, Samples, Source
from mtl_cli.data.cache import content_digest
from mtl_cli.data.options import Digits
from mtl_cli.data.split import carve, take

SIDE = 8


class DigitsSource(Source):
    """1,797 grey images of 8x8; columns `digit` and `slant`. The test part is carved here, by the data's seed."""

    def __init__(self, option: Digits, place: Place) -> None:
        self.option = option
        self.place = place

    def load(self) -> Loaded:
        """The images, which come with scikit-learn; there is nothing to fetch, and too little to cache."""
        images, digit = _read()
        samples = Samples(
            (images * (255 / 16)).round().to(torch.uint8),
            {"digit": Column(digit, tuple("0123456789")), "slant": Column(slant(images), None)},
        )
        kept, test = carve([digit], len(digit), self.option.test, self.place.seed, "digits/test")
        train_samples, test_samples = take(samples, kept), take(samples, test)
        return Loaded(train_samples, test_samples, content_digest(train_samples, test_samples))


def _read() -> tuple[Tensor, Tensor]:
    """What `sklearn.datasets.load_digits` gives, from its file: to import scikit-learn takes longer than all else here.

    Shapes: -> images (N, 1, 8, 8) float64, 0 to 16, and digits (N,) int64
    """
    found = find_spec("sklearn")
    assert found is not None, "scikit-learn is a dependency"
    assert found.origin is not None, "scikit-learn is a folder of modules"
    with gzip.open(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = torch.from_numpy(np.loadtxt(file, delimiter=","))
    return rows[:, :-1].reshape(-1, 1, SIDE, SIDE), rows[:, -1].long()


def slant(images: Tensor) -> Tensor:
    """Degrees that the ink of an image leans to the right of upright: "/" is 45, "|" 0, a backslash -45.

        slant = atan(mu11 / mu02),  mu_pq = sum (x - x0)^p (y - y0)^q ink(x, y)

    with x to the right and y *upwards*, against the order of rows, and (x0, y0) the centre of the ink.
    An image without height, such as an empty one, has slant 0.

    Shapes: images (N, 1, H, W) -> (N,) float32
    """
    ink = images[:, 0].double()
    height, width = ink.shape[1:]
    x = torch.arange(width, dtype=ink.dtype)
    y = -torch.arange(height, dtype=ink.dtype)[:, None]
    mass = ink.sum((1, 2)).clamp_min(torch.finfo(ink.dtype).tiny)
    x_0 = (ink * x).sum((1, 2)) / mass
    y_0 = (ink * y).sum((1, 2)) / mass
    dx, dy = x - x_0[:, None, None], y - y_0[:, None, None]
    mu11, mu02 = (ink * dx * dy).sum((1, 2)), (ink * dy * dy).sum((1, 2))
    angle = torch.atan(torch.where(mu02 > 0, mu11 / mu02, 0.0))
    return torch.rad2deg(angle).float()
