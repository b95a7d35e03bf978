"""Rows are divided as scikit-learn divides them, to the row."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from mtl_cli.data.strata import divide


@settings(max_examples=200)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=9), st.floats(0, 1), st.integers(0, 2**32 - 1), st.booleans())
@example([49, 49], 0.5, 0, False)
def test_the_rows_are_those_of_train_test_split(sizes: list[int], share: float, seed: int, mixed: bool) -> None:
    groups = np.repeat(np.arange(len(sizes)) * 7 - 3, sizes)
    if mixed:
        groups = np.random.RandomState(1).permutation(groups)
    n = min(max(round(len(groups) * share), len(sizes)), len(groups) - len(sizes))
    stratify = groups if len(sizes) > 1 else None
    theirs = train_test_split(np.arange(len(groups)), test_size=n, random_state=seed, stratify=stratify)
    for mine, its in zip(divide(groups, n, seed), theirs, strict=True):
        assert mine.tolist() == sorted(its.tolist())


def test_a_stratum_gives_its_share_by_hand() -> None:
    # 6, 3 and 3 rows, of which 4 go: 2, 1 and 1.
    stay, go = divide(np.array([5] * 6 + [1] * 3 + [2] * 3), 4, 0)
    assert sorted([*stay, *go]) == list(range(12))
    assert [sum(lo <= row < hi for row in go) for lo, hi in ((0, 6), (6, 9), (9, 12))] == pytest.approx([2, 1, 1])
