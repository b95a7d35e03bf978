"""Cells with tags are taken apart, and put together again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_cli.data.base import MISSING, Column
from mtl_cli.data.tags import apart, spread, strata
from mtl_cli.options import ConfigError

TAG = st.text("abc é\t", min_size=1).map(str.strip).filter(bool)


@given(st.lists(TAG), st.sampled_from([",", ";", "||", " / "]))
def test_a_cell_holds_the_tags_that_it_was_joined_of(tags: list[str], separator: str) -> None:
    assert apart(separator.join(f" {tag} " for tag in tags), separator) == tags


@given(st.lists(st.one_of(st.none(), st.sets(st.sampled_from("abcde"))), min_size=1, max_size=12))
def test_each_row_has_the_tags_of_its_cell_and_those_alone(rows: list[set[str] | None]) -> None:
    cells = sorted({tuple(sorted(row)) for row in rows if row is not None})
    codes = torch.tensor([MISSING if row is None else cells.index(tuple(sorted(row))) for row in rows])
    target, tags = spread("x", Column(codes, tuple(map(",".join, cells))), [list(cell) for cell in cells])
    assert tags == tuple(sorted({tag for row in rows if row for tag in row}))
    assert target.shape == (len(rows), len(tags))
    for row, found in zip(rows, target, strict=True):
        if row is None:
            assert bool(found.isnan().all())
        else:
            assert {tag for tag, there in zip(tags, found.tolist(), strict=True) if there} == row


def test_more_tags_than_memory_holds_are_one_line() -> None:
    cells = [str(i) for i in range(40_000)]
    with pytest.raises(ConfigError, match="column kinds has 40,000 different tags in 40,000 rows, too many for memory"):
        strata({"kinds": Column(torch.arange(40_000), tuple(cells))}, {"kinds": ","})
