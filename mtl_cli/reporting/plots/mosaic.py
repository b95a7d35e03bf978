"""Images in rows with lines beneath them: training inputs, and the worst samples of a task."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtl_cli.reporting.plots.scene import Classed, Grid, Line, Sample, Scene, Tagged, TaskScene
from mtl_cli.reporting.plots.style import INK, SOFT, WRONG, colour
from mtl_cli.reporting.wording import shorten

ABREAST = 8
SIDE, GAP, LINE, HEAD, EDGE = 1.15, 0.12, 0.155, 0.62, 0.15
"""Inches: an image, between two, a line of text, what stands above, and around all."""
CHARACTER = 0.06
"""Inches that a character takes at most, on average."""
COARSE = 64
"""Images no larger than this show their pixels as squares."""


def inputs(scene: Scene, grid: Grid) -> Figure:
    """Training inputs of one part."""
    line = f"{scene.task_set}, train, epoch 1 · {grid.legend}"
    return _mosaic(f"{grid.part}: training inputs as the model sees them", line, grid.samples)


def samples(task_set: str, grid: Grid) -> Figure:
    """Images of one part as they are read."""
    return _mosaic(f"{grid.part}: samples with their labels", f"{task_set}, train · {grid.legend}", grid.samples)


def worst(scene: Scene, task: TaskScene) -> Figure:
    """The samples of the highest loss."""
    told = "the true class, → the predicted one, each with its probability"
    line = told if isinstance(task.answers, Classed) else "the true number, → the predicted one"
    line = (
        "the true tags, → the predicted ones; where they are long: what is missed, what is too many"
        if isinstance(task.answers, Tagged)
        else line
    )
    return _mosaic(
        f"{task.name}: the highest losses", f"{scene.task_set}, {scene.split}, epoch {scene.epoch} · {line}", task.worst
    )


def _mosaic(title: str, line: str, samples: Sequence[Sample]) -> Figure:
    """All of it on one pair of axes whose unit is an inch, y downwards: a pair for each image would take seconds."""
    columns = min(ABREAST, len(samples))
    below = max(len(sample.lines) for sample in samples)
    rows = math.ceil(len(samples) / columns)
    high = SIDE + LINE * below + GAP + 0.06
    width, height = max(columns * (SIDE + GAP) - GAP, 4.5) + 2 * EDGE, HEAD + rows * high + EDGE
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(EDGE, 0.24, title, fontsize=11, fontweight="bold", va="center")
    axes.text(
        EDGE, 0.46, shorten(line, int((width - 2 * EDGE) / CHARACTER * 0.95)), fontsize=8.5, color=SOFT, va="center"
    )
    for k, sample in enumerate(samples):
        _place(axes, sample, EDGE + (k % columns) * (SIDE + GAP), HEAD + (k // columns) * high)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("auto")
    return figure


def _place(axes: Axes, sample: Sample, left: float, top: float) -> None:
    height, width = sample.image.shape[:2]
    scale = SIDE / max(height, width)
    inset_x, inset_y = (SIDE - scale * width) / 2, (SIDE - scale * height) / 2
    extent = (left + inset_x, left + SIDE - inset_x, top + SIDE - inset_y, top + inset_y)
    smooth = "nearest" if max(height, width) <= COARSE else "auto"
    axes.imshow(sample.image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation=smooth)
    for k, line in enumerate(sample.lines):
        text = shorten(line.text, int((SIDE + GAP / 2) / CHARACTER))
        axes.text(left, top + SIDE + LINE * (k + 0.55) + 0.02, text, fontsize=7.5, va="center", color=_ink(line))


def _ink(line: Line) -> str:
    if line.wrong:
        return WRONG
    return INK if line.task is None else colour(line.task)
