"""Inner products of long rows, exact enough for solvers."""

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 65_536
"""Columns of a Gramian's partial product: float32 sums of this length are right to 1e-6."""


def gramian_of(first_TP: Tensor, second_TP: Tensor) -> Tensor:
    """A B^T, summed in float64 over chunks of columns. Shapes: (T, P), (T, P) -> (T, T), on the CPU."""
    return summed(products_of(first_TP, second_TP))


def products_of(first_TP: Tensor, second_TP: Tensor) -> list[Tensor]:
    """A_k B_k^T of chunks of columns: one batched product, and one of the columns that are left.

    Shapes: (T, P), (T, P) -> (chunks, T, T) each
    """
    whole = first_TP.shape[1] // CHUNK * CHUNK
    pairs = ((first_TP[:, :whole], second_TP[:, :whole], CHUNK), (first_TP[:, whole:], second_TP[:, whole:], None))
    found = [_batched(first, second, size) for first, second, size in pairs if first.shape[1]]
    return found or [first_TP.new_zeros(1, len(first_TP), len(second_TP))]


def summed(products: Sequence[Tensor]) -> Tensor:
    """The sum of all, in float64; they leave the device together, which is waited for once.

    Shapes: (chunks, T, T) each -> (T, T), on the CPU
    """
    return torch.cat(list(products)).cpu().double().sum(0)


def _batched(first_TP: Tensor, second_TP: Tensor, size: int | None) -> Tensor:
    size = size or first_TP.shape[1]
    first_KTC, second_KTC = (rows.unflatten(1, (-1, size)).transpose(0, 1) for rows in (first_TP, second_TP))
    return torch.bmm(first_KTC, second_KTC.transpose(1, 2))
