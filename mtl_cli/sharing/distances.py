"""How far the corresponding parameters of several networks are from each other."""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

Distance = Literal["l2", "l1", "group", "trace_norm"]
SMALL = 1e-6
"""Squared singular values below this share of their mean count as zero: rounding makes such of equal networks."""


def l2(weights: Tensor) -> Tensor:
    """1/2 sum_(i<j) |w_i - w_j|^2 = T/2 sum_i |w_i - mean|^2. Shapes: (T, ...) -> ()"""
    squares: Tensor = (weights - weights.mean(0)).square().sum()
    return 0.5 * weights.shape[0] * squares


def l1(weights: Tensor) -> Tensor:
    """sum_(i<j) |w_i - w_j|_1. Shapes: (T, ...) -> ()"""
    return torch.stack([(weights[i] - weights[j]).abs().sum() for i, j in _pairs(weights)]).sum()


def group(weights: Tensor) -> Tensor:
    """sum_(i<j) sum_o |w_io - w_jo|_2, o an output unit with its inputs. Shapes: (T, out, in) or (T, out) -> ()

    Of vectors each number is a group.
    """
    grouped = weights if weights.dim() > 2 else weights[..., None]
    norms = [torch.linalg.vector_norm(grouped[i] - grouped[j], dim=-1) for i, j in _pairs(weights)]
    return torch.stack(norms).sum()


def trace_norm(weights: Tensor) -> Tensor:
    """Sum of the singular values of W (T, n), a task a row: tr (W W^T)^(1/2). Shapes: (T, ...) -> ()

    The gradient (W W^T + e I)^(-1/2) W is finite at equal and at zero weights, where the plain one is not; e is so
    small that it moves singular values below a thousandth of their mean alone.
    """
    rows = weights.flatten(1)
    gramian_TT = rows @ rows.T
    with torch.no_grad():
        squares_T, vectors_TT = torch.linalg.eigh(gramian_TT.double())
        squares_T = squares_T.clamp_min(0)
        ridge = SMALL * squares_T.mean() + torch.finfo(torch.float32).tiny
        inverse_TT = (vectors_TT * (squares_T + ridge).rsqrt()) @ vectors_TT.T
        value: Tensor = squares_T.sqrt().sum().to(weights.dtype)
    half: Tensor = 0.5 * (inverse_TT.to(weights.dtype) * gramian_TT).sum()
    return half + (value - half).detach()


DISTANCES: Mapping[Distance, Callable[[Tensor], Tensor]] = {
    "l2": l2, "l1": l1, "group": group, "trace_norm": trace_norm,
}  # fmt: skip


def _pairs(weights: Tensor) -> list[tuple[int, int]]:
    return list(combinations(range(weights.shape[0]), 2))
