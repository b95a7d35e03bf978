"""Inner products of long rows, exact enough for solvers."""

import torch
from torch import Tensor

CHUNK = 65_536
"""Columns of a Gramian's partial product: float32 sums of this length are right to 1e-6."""


def gramian_of(first_TP: Tensor, second_TP: Tensor) -> Tensor:
    """A B^T, summed in float64 over chunks of columns. Shapes: (T, P), (T, P) -> (T, T), on the CPU.

    The chunks' products leave the device together: it is waited for once.
    """
    total_TT = torch.zeros(len(first_TP), len(second_TP), dtype=torch.float64)
    pairs = zip(first_TP.split(CHUNK, 1), second_TP.split(CHUNK, 1), strict=True)
    products = [first @ second.T for first, second in pairs]
    for product_TT in torch.stack(products).cpu().double():
        total_TT += product_TT
    return total_TT
