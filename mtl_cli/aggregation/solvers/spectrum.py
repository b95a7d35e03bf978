"""The singular values of the rows, and least squares on them, from their Gramian alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EPS = float(np.finfo(np.float64).eps)

EASY = 1e-6
"""The smallest eigenvalue over the largest from which on the plain algorithms are right to ten digits."""


def spectrum(gramian_TT: Array, eps: float) -> tuple[Array, Array]:
    """V and s of G = V diag(s^2) V^T, s falling, without what is nought; also where rows differ by many orders.

    A row is taken for a combination of others where no more of its square is left than rounding accounts for, and what
    is shorter than sqrt(T eps64) of the longest is left out.

    eps: how much of the norms' product rounding may have taken from an entry.
    Shapes: (T, T) -> (T, R), (R,)
    """
    values_T, vectors_TT = np.linalg.eigh(gramian_TT)
    if values_T[0] > max(EASY, 100 * len(values_T) * eps) * values_T[-1]:
        return vectors_TT[:, ::-1], np.sqrt(values_T[::-1])
    vectors_TR, lengths_R, _ = np.linalg.svd(factor(gramian_TT, eps), full_matrices=False)
    kept_R = lengths_R**2 > len(gramian_TT) * EPS * lengths_R[0] ** 2
    return vectors_TR[:, kept_R], lengths_R[kept_R]


def least_squares(gramian_TT: Array, target_T: Array, eps: float) -> Array:
    """The shortest x of those with the least ||G x - y||; the exact one where the rows are independent.

    What is left of y after a first solution is solved for once more, which takes back most of what rounding did to it.

    Shapes: (T, T), (T,) -> (T,)
    """
    norms_T = np.sqrt(gramian_TT.diagonal())
    units_TT = gramian_TT / norms_T / norms_T[:, None]
    inverse_TT = _inverse(units_TT, max(EASY, 100 * len(norms_T) * eps))
    if inverse_TT is not None and norms_T.min() > np.sqrt(EASY) * norms_T.max():
        scaled_T = target_T / norms_T
        first_T = inverse_TT @ scaled_T
        solved_T: Array = (first_T + inverse_TT @ (scaled_T - units_TT @ first_T)) / norms_T
        return solved_T
    vectors_TR, lengths_R = spectrum(gramian_TT, eps)
    shortest_T: Array = vectors_TR @ (vectors_TR.T @ target_T / lengths_R**2)
    left_T = target_T - gramian_TT @ shortest_T
    shortest_T += vectors_TR @ (vectors_TR.T @ left_T / lengths_R**2)
    return shortest_T


def factor(gramian_TT: Array, eps: float) -> Array:
    """L of G = L L^T by Cholesky, that row next of which the most is left, until all of it is rounding.

    Shapes: (T, T) -> (T, R)
    """
    own_T = gramian_TT.diagonal()
    left_T = own_T.copy()
    lower_TT = np.zeros_like(gramian_TT)
    for k in range(len(own_T)):
        open_T = np.where(left_T > 10 * len(own_T) * eps * own_T, left_T, 0.0)
        i = int(open_T.argmax())
        if open_T[i] == 0:
            return lower_TT[:, :k]
        column_T = (gramian_TT[:, i] - lower_TT[:, :k] @ lower_TT[i, :k]) / np.sqrt(open_T[i])
        lower_TT[:, k] = column_T
        left_T -= column_T * column_T
        left_T[i] = 0.0
    return lower_TT


def _inverse(units_TT: Array, smallest: float) -> Array | None:
    """The inverse, if no eigenvalue is nearer to nought than that."""
    try:
        inverse_TT: Array = np.linalg.inv(units_TT)
    except np.linalg.LinAlgError:
        return None
    return inverse_TT if len(inverse_TT) * np.abs(inverse_TT).max() * smallest < 1 else None
