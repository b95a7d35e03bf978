"""Loss and metrics of every task over the epochs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from mtl_cli.reporting.plots.scene import Scene, TaskScene
from mtl_cli.reporting.plots.style import INK, SOFT, colour, figure

ABREAST = 4
WIDTH, HEIGHT = 3.3, 2.2
MARKED = 15
"""So few epochs are marked with dots."""
WIDE = 30.0
"""Losses whose largest is so many times their smallest are shown on a logarithmic scale."""
LOWEST = -0.25
"""Where the axis of a metric that is no error begins at the lowest: far below a constant there is nothing to read."""
TRAIN: dict[str, Any] = {"linestyle": (0, (2.2, 1.2)), "linewidth": 1.3}
Points = tuple[list[int], list[float]]


def curves(scene: Scene) -> Figure:
    """Two panels a task, one above the other: losses, and metrics on val."""
    columns = min(ABREAST, len(scene.tasks))
    rows = 2 * math.ceil(len(scene.tasks) / columns)
    drawn = figure(max(WIDTH * columns, 4.2), HEIGHT * rows + 0.7)
    panels = drawn.subplots(rows, columns, squeeze=False)
    best = max((event["epoch"] for event in scene.epochs if event["best"]), default=None)
    for i, task in enumerate(scene.tasks):
        above, column = 2 * (i // columns), i % columns
        _losses(panels[above][column], scene.epochs, task.name, i)
        _metrics(panels[above + 1][column], scene.epochs, task, i)
        for panel in (panels[above][column], panels[above + 1][column]):
            _frame(panel, best)
    for i in range(len(scene.tasks), columns * rows // 2):
        for row in (0, 1):
            panels[2 * (i // columns) + row][i % columns].remove()
    drawn.suptitle(f"{scene.task_set}: losses, and metrics on val", x=0.01, ha="left", fontsize=11, fontweight="bold")
    drawn.legend(handles=_keys(best), loc="outside lower left", ncols=4 if columns > 1 else 2, fontsize=8)
    return drawn


def points(epochs: Sequence[Mapping[str, Any]], *keys: str) -> Points:
    """Epochs and the number that stands under those keys in each one's event; the last event of an epoch counts."""
    found: dict[int, float] = {}
    for event in epochs:
        value: Any = event
        for key in keys:
            value = value.get(key) if value is not None else None
        found[event["epoch"]] = math.nan if value is None else float(value)
    return list(found), list(found.values())


def _losses(axes: Axes, epochs: Sequence[Mapping[str, Any]], task: str, i: int) -> None:
    train, val = points(epochs, "train", "loss", task), points(epochs, "val", task, "loss")
    _line(axes, train, label="train", color=colour(i), **TRAIN)
    _line(axes, val, label="val", color=colour(i))
    numbers = [value for value in (*train[1], *val[1]) if math.isfinite(value)]
    if numbers and min(numbers) > 0 and max(numbers) > WIDE * min(numbers):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(numbers) < 300 * min(numbers) else (1.0,)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(task)
    axes.set_ylabel("loss")


def _metrics(axes: Axes, epochs: Sequence[Mapping[str, Any]], task: TaskScene, i: int) -> None:
    """The primary metric; others of its kind beside it, and those in another unit on an axis of their own."""
    primary, *others = task.metrics
    beside = [metric for metric in others if metric.scale == primary.scale]
    apart = [metric for metric in others if metric not in beside]
    for metric, style in zip(beside, ("-", "--", ":"), strict=False):
        found = points(epochs, "val", task.name, metric.name)
        _line(axes, found, label=metric.name, color=colour(i), alpha=0.4, linewidth=1.1, linestyle=style)
    shown = points(epochs, "val", task.name, primary.name)
    _line(axes, shown, label=primary.name, color=colour(i))
    if primary.constant is not None:
        axes.axhline(primary.constant, color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
    axes.set_ylabel(primary.name)
    axes.set_xlabel("epoch")
    if primary.scale != "unit":
        lowest = min((v for v in (*shown[1], primary.constant or 0.0) if math.isfinite(v)), default=0.0)
        axes.set_ylim(bottom=LOWEST if lowest < LOWEST else None, top=1.03)
    handles = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    if apart:
        handles += _apart(axes, epochs, task, [metric.name for metric in apart])
    axes.legend(handles=handles[::-1], loc="best", handlelength=1.6, borderpad=0.2)


def _apart(axes: Axes, epochs: Sequence[Mapping[str, Any]], task: TaskScene, names: Sequence[str]) -> list[Line2D]:
    twin = axes.twinx()
    twin.grid(visible=False)
    twin.spines["right"].set_visible(True)
    twin.set_ylabel(", ".join(names), color=SOFT, fontsize=8)
    for name, style in zip(names, ("-", "--", ":"), strict=False):
        found = points(epochs, "val", task.name, name)
        _line(twin, found, label=name, color="#A8A8A8", linewidth=1.1, linestyle=style)
    axes.set_zorder(twin.get_zorder() + 1)
    axes.patch.set_visible(False)
    return list(twin.get_lines())


def _line(axes: Axes, found: Points, **style: Any) -> None:
    axes.plot(*found, marker="o" if len(found[0]) <= MARKED else None, markersize=2.5, **style)


def _frame(axes: Axes, best: int | None) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    if best is not None:
        axes.axvline(best, color=INK, linewidth=0.9, alpha=0.55, linestyle=(0, (1, 2)))


def _keys(best: int | None) -> list[Line2D]:
    keys = [
        Line2D([], [], color=SOFT, label="train", **TRAIN),
        Line2D([], [], color=SOFT, label="val"),
        Line2D([], [], color=SOFT, linestyle=(0, (4, 3)), linewidth=1, label="best constant"),
    ]
    if best is not None:
        keys.append(
            Line2D([], [], color=INK, alpha=0.55, linewidth=0.9, linestyle=(0, (1, 2)), label=f"best, epoch {best}")
        )
    return keys
