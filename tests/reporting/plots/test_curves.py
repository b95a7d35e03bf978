"""The curves are the log's numbers, whatever was missing or judged twice."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes

from mtl_cli.reporting.plots.curves import curves, points
from mtl_cli.reporting.plots.scene import Scene
from tests.reporting.plots import scenes


def lines(axes: Axes) -> dict[str, list[float]]:
    """What is drawn, by label."""
    return {str(line.get_label()): [float(y) for y in np.asarray(line.get_ydata())] for line in axes.get_lines()}


def panels(scene: Scene) -> list[Axes]:
    return curves(scene).axes


def test_the_curves_are_the_numbers_of_the_log() -> None:
    scene = scenes.scene(tasks=2)
    first, second, first_metrics, second_metrics, apart = panels(scene)
    for axes, name in ((first, "task0"), (second, "task1")):
        assert axes.get_title(loc="left") == name
        assert lines(axes)["train"] == [event["train"]["loss"][name] for event in scene.epochs]
        assert lines(axes)["val"] == [event["val"][name]["loss"] for event in scene.epochs]
        assert list(np.asarray(axes.get_lines()[0].get_xdata())) == [1, 2, 3, 4, 5]
    for axes, name, metrics in (
        (first_metrics, "task0", ("accuracy", "f1_macro")),
        (second_metrics, "task1", ("r2",)),
        (apart, "task1", ("mae", "rmse")),  # in another unit, so on an axis of their own
    ):
        shown = lines(axes)
        for metric in metrics:
            assert shown[metric] == [event["val"][name][metric] for event in scene.epochs]


def test_the_selected_epoch_and_the_constant_are_marked() -> None:
    axes = panels(scenes.scene(tasks=1, best=4))[1]
    straight = [line for line in axes.get_lines() if str(line.get_label()).startswith("_")]
    assert [list(np.asarray(line.get_ydata())) for line in straight[:1]] == [[0.25, 0.25]]
    assert list(np.asarray(straight[1].get_xdata())) == [4, 4]


def test_what_the_log_lacks_is_a_gap_and_an_epoch_judged_again_counts_once() -> None:
    events = [
        {"epoch": 1, "val": {"a": {"loss": 3.0}}},
        {"epoch": 2, "val": {"a": {"loss": None}}},
        {"epoch": 3, "val": {}},
        {"epoch": 3, "val": {"a": {"loss": 1.0}}},
    ]
    epochs, values = points(events, "val", "a", "loss")
    assert epochs == [1, 2, 3]
    assert values == pytest.approx([3.0, math.nan, 1.0], nan_ok=True)


@pytest.mark.parametrize("tasks", [1, 5, 12])
def test_every_task_has_its_two_panels(tasks: int) -> None:
    titles = [axes.get_title(loc="left") for axes in panels(scenes.scene(tasks))]
    assert [title for title in titles if title] == [f"task{i}" for i in range(tasks)]
