"""What stands in a row of `mtl predict`."""

import io

import pytest
import torch

from mtl_cli.shipping.rows import Writer, rows
from tests.options import make_task

TAGS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
PROBABILITIES = torch.tensor([[0.75, 0.5, 0.9375], [0.25, 0.125, 0.5]])


def test_tags_are_said_as_their_column_has_them_with_the_probability_of_just_these() -> None:
    task = make_task("kinds", "multilabel", TAGS, ("blue", "red", "round"), separator=";", none="plain")
    both, none = rows("path", ["a.png", "b.png"], {"kinds.probabilities": PROBABILITIES}, {"kinds": task})
    assert both["kinds"] == "blue;round"
    assert both["kinds.probability"] == pytest.approx(0.75 * 0.5 * 0.9375)
    assert both["kinds.probabilities"] == {"blue": 0.75, "red": 0.5, "round": 0.9375}
    assert none["kinds"] == "plain"
    assert none["kinds.probability"] == pytest.approx(0.75 * 0.875 * 0.5)


def test_where_no_text_means_no_tag_the_cell_is_empty() -> None:
    task = make_task("kinds", "multilabel", TAGS, ("blue", "red", "round"))
    stream = io.StringIO()
    Writer(stream, "csv", "path", {"kinds": task}).write(
        rows("path", ["a", "b"], {"kinds.probabilities": PROBABILITIES}, {"kinds": task})
    )
    assert stream.getvalue().splitlines() == ["path,kinds,kinds.probability", 'a,"blue,round",0.3515625', "b,,0.328125"]
