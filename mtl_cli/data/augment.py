"""Whole batches, cropped, flipped and scaled on the device where they lie.

Every sample has draws of its own, a pure function of (seed, epoch, sample index): the same in any batch, in any
order, on any device, and after a resume.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from mtl_cli.data.base import Moments, Preparation, Stream
from mtl_cli.draws import seed_of

Host = npt.NDArray[np.int64]
CHUNK = 65536
BITS = 21
"""Bits of one hash that decide one offset; three draws fit in 63."""


def prepare(raw: Tensor, preparation: Preparation) -> Tensor:
    """The model's inputs: (raw - mean) / std, by channel or by column, of images that were resized before.

    Resized is bilinearly with antialiasing, as torchvision does, but not rounded to bytes again.

    Shapes: raw (B, C, H, W) uint8 -> (B, C', *size) float32, C' = 3 where 1 channel has three means; (B, D) float32
        -> the same shape
    """
    mean, std = _scale(preparation, raw.ndim, raw.device)
    if raw.ndim == 4 and preparation.size not in (None, tuple(raw.shape[2:])):
        resized = interpolate(raw.to(torch.float32), preparation.size, mode="bilinear", antialias=True)
        return (resized - mean).div_(std)
    if len(mean) != raw.shape[1]:
        return (raw.to(torch.float32) - mean).div_(std)
    return raw.to(torch.float32, copy=True).sub_(mean).div_(std)


def restored(inputs: Tensor, preparation: Preparation) -> Tensor:
    """Images that a model was given, to be looked at: the inverse of `prepare` to the byte, but for its resizing.

    Shapes: inputs (B, C, H, W) float32 -> the same shape, uint8
    """
    mean, std = _scale(preparation, inputs.ndim, inputs.device)
    return (inputs * std + mean).round_().clamp_(0, 255).to(torch.uint8)


def augmented(raw: Tensor, preparation: Preparation, index: Host, seed: int, epoch: int) -> Tensor:
    """The model's inputs in training: each image cropped and flipped by its own draws, then prepared.

    The crop is a window of the image's size at a random place of the image with a border of `crop` pixels that are
    zero in raw units, which is black.

    Args:
        raw: a batch; vectors are scaled only.
        preparation: mean, deviation, crop and flip.
        index: of each sample in its data set, which names its draws.
        seed: of the run.
        epoch: the draws' other name.
    Shapes: raw (B, C, H, W) uint8 or (B, D) float32, index (B,) -> as `prepare`
    """
    if raw.ndim == 2 or not (preparation.crop or preparation.flip):
        return prepare(raw, preparation)
    draws = hashed(index, seed_of(seed, "augment", epoch))
    return prepare(_window(raw, preparation, draws), preparation)


def hashed(index: Host, seed: int) -> npt.NDArray[np.uint64]:
    """63 random bits for each index: the splitmix64 generator with state seed + index.

        z = seed + (index + 1) 0x9E3779B97F4A7C15
        z = (z ^ z >> 30) 0xBF58476D1CE4E5B9;  z = (z ^ z >> 27) 0x94D049BB133111EB;  z ^ z >> 31

    Shapes: index (B,) -> (B,)
    Note: the top bit is dropped.
    Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    z = (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return (z ^ z >> np.uint64(31)) & np.uint64(2**63 - 1)


def _window(raw: Tensor, preparation: Preparation, draws: npt.NDArray[np.uint64]) -> Tensor:
    """Each image's window, mirrored where its draw says so, by one gather over the bordered batch.

    What is drawn is worked out on the host, where it costs a device no launches.
    """
    batch, channels, height, width = raw.shape
    crop, bits = preparation.crop, draws.astype(np.int64)
    offsets, wide = 2 * crop + 1, width + 2 * crop
    down, right = ((bits >> shift & (2**BITS - 1)) * offsets >> BITS for shift in (0, BITS))
    mirrored = (bits >> 2 * BITS & 1).astype(bool) & preparation.flip
    first = down * wide + right + mirrored * (width - 1)
    told = torch.from_numpy(np.stack([first, 1 - 2 * mirrored])).to(raw.device, non_blocking=True)
    first_B, step_B = told
    down_H, across_W = _steps(height, wide, raw.device), _steps(width, 1, raw.device)
    columns_BW = first_B[:, None] + step_B[:, None] * across_W
    places_BHW = columns_BW[:, None] + down_H[:, None]
    bordered = pad(raw, (crop, crop, crop, crop)).flatten(2)
    index = places_BHW.view(batch, 1, -1).expand(-1, channels, -1)
    return bordered.gather(2, index).view(raw.shape)


@lru_cache(maxsize=64)
def _steps(count: int, step: int, device: torch.device) -> Tensor:
    """0, step, 2 step, ...; kept, as each batch wants them."""
    return step * torch.arange(count, device=device)


@lru_cache(maxsize=64)
def _scale(preparation: Preparation, ndim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation, shaped to broadcast; kept, as sending them with each batch would wait for the device."""
    shape = (-1, 1, 1) if ndim == 4 else (-1,)
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=device).view(shape)
        for values in (preparation.mean, preparation.std)
    )
    return mean, std


def fit_preparation(inputs: Tensor | Stream, crop: int, flip: bool) -> Preparation:
    """The preparation whose mean and deviation are those of train's inputs, by channel or by column, in raw units.

    In float64; the deviation of what never changes is 1.

    Args:
        inputs: of train, at least one sample.
        crop: pixels of border that a crop may reach into; 0 for vectors.
        flip: whether to mirror half of the images; false for vectors.
    Shapes: inputs (N, C, H, W) uint8, also left in files, or (N, D) float32
    Raises: ValueError: vectors cannot be cropped or flipped; there is no sample.
    """
    if isinstance(inputs, Tensor) and inputs.ndim == 2 and (crop or flip):
        raise ValueError(f"crop and flip are for images, (N, C, H, W). Found inputs of shape {tuple(inputs.shape)}")
    if len(inputs) == 0:
        raise ValueError("the training part should have at least one sample. Found 0")
    if isinstance(inputs, Stream):
        mean, variance = _exactly(inputs.moments())
    else:
        mean, variance = _exactly(_byte_moments(inputs)) if inputs.dtype == torch.uint8 else _moments(inputs)
    std = [math.sqrt(value) for value in variance.tolist()]
    return Preparation(
        mean=tuple(mean.tolist()), std=tuple(value if value > 0 else 1.0 for value in std), crop=crop, flip=flip
    )


def _exactly(moments: Moments) -> tuple[Tensor, Tensor]:
    """Mean and variance by channel, each rounded once, so that it is the same however the sums were made.

        mean = S / n,   variance = (n Q - S^2) / n^2;   S, Q: sums of values and of squares, whole numbers

    Shapes: -> (C,) and (C,) float64
    """
    n = moments.values
    pairs = list(zip(moments.total, moments.squares, strict=True))
    mean = [total / n for total, _ in pairs]
    variance = [(n * squares - total * total) / (n * n) for total, squares in pairs]
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64)


def _byte_moments(inputs: Tensor) -> Moments:
    """Of bytes by channel, from their histograms: exact, and ten times faster than summing squares.

    Shapes: (N, C, ...) uint8
    """
    counts = torch.stack([torch.bincount(inputs[:, c].flatten(), minlength=256) for c in range(inputs.shape[1])])
    values = torch.arange(256)
    total, squares = (counts * values).sum(1).tolist(), (counts * values.square()).sum(1).tolist()
    return Moments(inputs[:, 0].numel(), tuple(total), tuple(squares))


def _moments(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance by column. Shapes: (N, D) float32 -> (D,) and (D,) float64"""
    chunks = inputs.split(CHUNK)
    mean = torch.stack([chunk.double().sum(0) for chunk in chunks]).sum(0) / len(inputs)
    squares = [(chunk.double() - mean).square_().sum(0) for chunk in chunks]
    return mean, torch.stack(squares).sum(0) / len(inputs)
