"""Rows divided in two, each stratum in proportion: the rows that scikit-learn's `train_test_split` gives.

To import scikit-learn takes a second of every start, and numpy's legacy generator promises its draws for good.

Source: F. Pedregosa et al., Scikit-learn: machine learning in Python, JMLR 2011: StratifiedShuffleSplit.
"""

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Whole = NDArray[np.int64]


def divide(groups: Whole, n: int, seed: int) -> tuple[Whole, Whole]:
    """Which rows stay, and which `n` go, ascending; of each group its share goes, to within one row.

    Args:
        groups: each row's stratum; one stratum for all: a plain draw.
        n: how many go; at least one of each stratum, as many stay.
        seed: of the draw, below 2 ** 32.
    Shapes: (N,) -> (N - n,) and (n,)
    """
    draw = RandomState(seed)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        order = draw.permutation(len(groups))
        return np.sort(order[n:]), np.sort(order[:n])
    stay_G = _shares(sizes, len(groups) - n, draw)
    _shares(sizes - stay_G, n, draw)  # all that is left; it may draw, and what follows is drawn after it
    rows_G = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    mixed_G = [rows[draw.permutation(len(rows))] for rows in rows_G]
    stay = np.concatenate([rows[:k] for rows, k in zip(mixed_G, stay_G, strict=True)])
    return np.sort(stay), np.setdiff1d(np.arange(len(groups)), stay)


def _shares(sizes: Whole, n: int, draw: RandomState) -> Whole:
    """How many of each group make `n` in proportion: rounded down, then one more by the largest remainder.

    Equal remainders are drawn among. Shapes: (G,) -> (G,)
    """
    exact = sizes / sizes.sum() * n
    shares = np.floor(exact)
    remainders = exact - shares
    missing = int(n - shares.sum())
    for value in np.unique(remainders)[::-1] if missing else ():
        tied = np.flatnonzero(remainders == value)
        more = draw.choice(tied, size=min(len(tied), missing), replace=False)
        shares[more] += 1
        missing -= len(more)
        if missing == 0:
            break
    whole: Whole = shares.astype(np.int64)
    return whole
