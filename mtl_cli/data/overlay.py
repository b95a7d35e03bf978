"""Two images on one canvas, each with a label of its own: Multi-MNIST and its kin.

Source: S. Sabour, N. Frosst, G. E. Hinton, Dynamic routing between capsules, NeurIPS 2017 (two digits overlaid);
O. Sener, V. Koltun, Multi-task learning as multi-objective optimization, NeurIPS 2018 (offset 6, resized to 28x28);
X. Lin, H.-L. Zhen, Z. Li, Q. Zhang, S. Kwong, Pareto multi-task learning, NeurIPS 2019 (36x36, the Fashion sets).
"""

import torch
from torch import Tensor

from mtl_cli.data.base import Column, Loaded, Place, Samples, Source
from mtl_cli.data.cache import cached
from mtl_cli.data.mnist import MnistSource
from mtl_cli.data.options import Mnist, Overlay
from mtl_cli.draws import generator
from mtl_cli.options import ConfigError

CANVAS = 36


class OverlaySource(Source):
    """60,000 and 10,000 grey images; columns `left` and `right`, the labels of the first and the second image.

        canvas[y, x] = max(first[y, x], second[y - offset, x - offset]),  0 outside of an image

    Every image of the first set is once a left one. Each right one is drawn by `data.seed` from all images of the
    second set, with replacement and independently, train from train and test from test, as in Sener and Koltun; with
    `other_class` from those of another class than the left one's.

    In the mix of both sets, MNIST is the first and hence `left`: the first task of Lin et al.'s files, with which Shi
    et al. (Recon, ICLR 2023) and Liu et al. (CAGrad, NeurIPS 2021) work. Those hold 120,000 and 20,000 images; we
    make as many as there are left ones. The scipy of Sener and Koltun's time also stretched each canvas to 0-255,
    which changes one in a hundred; ours keep the sets' own values.

    Raises: ConfigError: a set is missing or damaged, or `other_class` where there is no other class.
    """

    def __init__(self, option: Overlay, place: Place) -> None:
        if option.other_class and option.first != option.second:
            raise ConfigError(
                f"a part's other_class=true should have first and second of one set. Found {option.first} and "
                f"{option.second}: set other_class=false"
            )
        self.option = option
        self.place = place

    def load(self) -> Loaded:
        """The overlaid images, from the cache where they were made before."""
        option = self.option
        first, second = (
            MnistSource(Mnist(variant=variant, crop=0, flip=False), self.place).load()
            for variant in (option.first, option.second)
        )
        words = (
            first.digest, second.digest, f"seed={self.place.seed}", f"offset={option.offset}", f"size={option.size}",
            f"other_class={option.other_class}",
        )  # fmt: skip

        def build() -> tuple[Samples, Samples]:
            return self._overlaid(first.train, second.train, "train"), self._overlaid(first.test, second.test, "test")

        return cached(self.place.cache_dir, "overlay", words, build)

    def _overlaid(self, first: Samples, second: Samples, split: str) -> Samples:
        assert isinstance(first.inputs, Tensor)
        assert isinstance(second.inputs, Tensor)
        left, others = first.columns["label"], second.columns["label"]
        draw = generator(self.place.seed, "overlay", split)
        if self.option.other_class:
            index = other_class(left.values, others.values, draw)
        else:
            index = torch.randint(len(others.values), left.values.shape, generator=draw)
        images = overlay(first.inputs, second.inputs[index], self.option.offset)
        if self.option.size is not None:
            images = nearest_pixels(images, self.option.size)
        return Samples(images, {"left": left, "right": Column(others.values[index], others.classes)})


def overlay(first: Tensor, second: Tensor, offset: int) -> Tensor:
    """The first at the canvas's upper left, the second `offset` rows and columns further, the brighter one of both.

    Shapes: first, second (N, 1, 28, 28) uint8 -> (N, 1, 36, 36) uint8
    """
    canvas = first.new_zeros(len(first), 1, CANVAS, CANVAS)
    height, width = first.shape[2:]
    canvas[:, :, :height, :width] = first
    there = canvas[:, :, offset : offset + height, offset : offset + width]
    torch.maximum(there, second, out=there)
    return canvas


def nearest_pixels(images: Tensor, size: int) -> Tensor:
    """Resized by picking pixels as Pillow does, and scipy's imresize by it: row i is row floor((i + 1/2) H / size).

    Torch's `nearest` would pick row floor(i H / size). Shapes: (N, 1, H, H) -> (N, 1, size, size)
    """
    side = images.shape[-1]
    picked = torch.tensor([(2 * i + 1) * side // (2 * size) for i in range(size)])
    return images[:, :, picked][:, :, :, picked]


def other_class(left: Tensor, others: Tensor, draw: torch.Generator) -> Tensor:
    """For each left label the index of one of `others` of another class, all of those alike in probability.

    Shapes: left (N,), others (M,) -> (N,) int64, indices into `others`
    """
    by_class = others.argsort(stable=True)
    counts = torch.bincount(others, minlength=int(left.max()) + 1)
    own, start = counts[left], (counts.cumsum(0) - counts)[left]
    room = len(others) - own
    if (room == 0).any():
        raise ConfigError("a part's other_class=true needs images of two classes. Found one: set other_class=false")
    rank = (torch.rand(left.shape, generator=draw, dtype=torch.float64) * room).long()
    return by_class[torch.where(rank < start, rank, rank + own)]
