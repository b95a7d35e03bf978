"""Every sample stands in its place with its own lines beneath."""

import numpy as np
import pytest

from mtl_cli.reporting.plots.mosaic import inputs, worst
from mtl_cli.reporting.plots.predicted import predicted
from mtl_cli.reporting.plots.scene import Grid, Line, Sample
from mtl_cli.reporting.plots.style import INK, WRONG, colour
from tests.reporting.plots import scenes


@pytest.mark.parametrize("count", [1, 8, 11])
def test_each_sample_is_there_with_its_lines_beneath_it(count: int) -> None:
    samples = tuple(Sample(np.full((4, 4, 3), k, np.uint8), (Line(f"a {k}"), Line(f"b {k}"))) for k in range(count))
    figure = inputs(scenes.scene(), Grid("images", samples, "labels"))
    (axes,) = figure.axes
    assert [int(np.asarray(image.get_array()).flat[0]) for image in axes.images] == list(range(count))
    texts = axes.texts[2:]
    assert [text.get_text() for text in texts] == [f"{name} {k}" for k in range(count) for name in "ab"]
    width, height = figure.get_size_inches()
    for k, image in enumerate(axes.images):
        left, right, bottom, top = image.get_extent()
        assert (right - left, bottom - top) == pytest.approx((1.15, 1.15))
        assert 0 <= left < right <= width
        x, y = texts[2 * k].get_position()
        assert x == pytest.approx(left)
        assert bottom < y < texts[2 * k + 1].get_position()[1] < height


def test_an_oblong_image_keeps_its_shape() -> None:
    sample = Sample(np.zeros((2, 6), np.uint8), ())
    (axes,) = inputs(scenes.scene(), Grid("images", (sample,), "labels")).axes
    left, right, bottom, top = axes.images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(3)


def test_a_line_has_the_colour_of_its_task_or_of_what_is_wrong() -> None:
    lines = (Line("true"), Line("said", wrong=True), Line("task", 1))
    task = scenes.scene().tasks[0]._replace(worst=(Sample(np.zeros((2, 2), np.uint8), lines),))
    (axes,) = worst(scenes.scene(), task).axes
    assert [text.get_color() for text in axes.texts[2:]] == [INK, WRONG, colour(1)]
    assert "sample, test, epoch 4" in axes.texts[1].get_text()


def test_predicted_numbers_stand_over_the_true_ones() -> None:
    answers = scenes.measured(50)
    (axes,) = predicted(scenes.scene(), 1, answers).axes
    points = np.asarray(axes.collections[0].get_offsets())
    assert np.array_equal(points, np.stack([answers.targets, answers.values], 1))
    low, high = axes.get_xlim()
    assert (low, high) == axes.get_ylim()
    assert low < answers.targets.min() <= answers.targets.max() < high
