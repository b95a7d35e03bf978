"""Rows of a table with their labels, beneath histograms of the labels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtl_cli.reporting.plots.scene import Rows, TargetShape
from mtl_cli.reporting.plots.style import FAINT, INK, SOFT, colour
from mtl_cli.reporting.wording import shorten

WIDE, HIGH, LINE, EDGE = 1.25, 1.35, 0.21, 0.15
"""Inches: a column, a histogram, a row of the table, around all."""
CELL = 17
"""Characters of a cell."""
LETTER = 0.068
"""Inches of a letter that is not small."""
HISTOGRAMS = 6
BINS = 30


def rows(task_set: str, shown: Rows) -> Figure:
    """A histogram a task, then some rows: labels in their tasks' colours, then inputs."""
    shapes = shown.shapes[:HISTOGRAMS]
    columns = len(shown.heading)
    table = LINE * (len(shown.cells) + 1.6)
    width, height = max(columns * WIDE, 6.0) + 2 * EDGE, 0.75 + HIGH + 0.35 + table + EDGE
    figure = Figure(figsize=(width, height))
    figure.text(EDGE / width, 1 - 0.24 / height, f"{shown.part}: rows with their labels", fontsize=11, weight="bold")
    figure.text(EDGE / width, 1 - 0.46 / height, f"{task_set}, train · {shown.legend}", fontsize=8.5, color=SOFT)
    each = (width - 2 * EDGE) / len(shapes)
    for i, shape in enumerate(shapes):
        left, low = EDGE + i * each + 0.3, height - 0.75 - HIGH
        box = (left / width, low / height, (each - 0.45) / width, (HIGH - 0.1) / height)
        _histogram(figure.add_axes(box), i, shape, each - 0.45)
    _table(figure.add_axes((0, 0, 1, (table + EDGE) / height)), shown, width, table)
    return figure


def _histogram(axes: Axes, i: int, shape: TargetShape, wide: float) -> None:
    axes.set_title(shorten(shape.name, CELL), fontsize=8.5, color=colour(i), pad=3)
    axes.tick_params(labelsize=6.5)
    axes.grid(visible=False, axis="x")
    if shape.names:
        axes.bar(np.arange(len(shape.values)), shape.values, color=colour(i), width=0.8)
        few = len(shape.names) <= 6
        room = max(4, int(wide / len(shape.names) / LETTER))
        axes.set_xticks(range(len(shape.names)) if few else [], [shorten(n, room) for n in shape.names] if few else [])
        if not few:
            axes.set_xlabel(f"{len(shape.names):,} classes", fontsize=6.5)
        return
    finite = shape.values[np.isfinite(shape.values)]
    axes.hist(finite, bins=BINS, color=colour(i))


def _table(axes: Axes, shown: Rows, width: float, height: float) -> None:
    """Text on axes whose unit is an inch, y downwards."""
    axes.set_axis_off()
    each = (width - 2 * EDGE) / len(shown.heading)
    _line(axes, [name for name, _ in shown.heading], shown, 0.5 * LINE, each, bold=True)
    for k, cells in enumerate(shown.cells):
        top = LINE * (k + 1.6)
        axes.plot([EDGE, width - EDGE], [top - LINE / 2] * 2, color=FAINT, linewidth=0.7)
        _line(axes, cells, shown, top, each, bold=False)
    axes.set_xlim(0, width)
    axes.set_ylim(height + EDGE, 0)


def _line(axes: Axes, cells: Sequence[str], shown: Rows, top: float, each: float, *, bold: bool) -> None:
    room = max(4, int(each / LETTER))
    for k, (cell, (_, task)) in enumerate(zip(cells, shown.heading, strict=True)):
        ink = INK if task is None else colour(task)
        weight = "bold" if bold else "normal"
        axes.text(EDGE + k * each, top, shorten(cell, room), fontsize=7.5, va="center", color=ink, weight=weight)
