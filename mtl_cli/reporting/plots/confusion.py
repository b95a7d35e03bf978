"""Which classes are taken for which."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from mtl_cli.reporting.plots.scene import Classed, Floats, Indices, Scene
from mtl_cli.reporting.plots.style import INK, SOFT, figure, head, shades
from mtl_cli.reporting.wording import shorten

BOTH = 12
"""Up to so many classes a cell has room for a count and a share; up to COUNTS for a count."""
COUNTS = 25
NAMED = 110
NAME = 18
"""Up to NAMED classes each has its name at the side, of at most NAME characters."""
DARK = 0.6
"""Where white letters read better than dark ones, of 1."""


def counts(answers: Classed) -> Indices:
    """How many samples of each class are taken for each. Shapes: -> (C, C), rows are the true classes"""
    classes = len(answers.classes)
    pairs = answers.targets * classes + answers.probabilities.argmax(1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def confusion(scene: Scene, i: int, answers: Classed) -> Figure:
    """Counts, with each row's shares as shades."""
    found = counts(answers)
    totals = found.sum(1, keepdims=True)
    shares = found / np.maximum(totals, 1)
    side = _side(len(found))
    names = 0.07 * min(NAME, max(map(len, answers.classes)))
    drawn = figure(side + names + (1.4 if len(found) > BOTH else 0.7), side + names + 1.1)
    axes = drawn.add_subplot()
    scale = PowerNorm(0.5 if len(found) > COUNTS else 1.0, 0, 1)  # of many classes, each takes a small share
    image = axes.imshow(shares, cmap=shades(i), norm=scale, aspect="equal", interpolation="nearest")
    if len(found) > BOTH:
        bar = drawn.colorbar(image, ax=axes, shrink=0.7, aspect=28, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class", color=SOFT, fontsize=8)
    _names(axes, answers.classes, side)
    _lines(axes, len(found))
    if len(found) <= COUNTS:
        _annotate(axes, found, shares, side, i)
    right = np.trace(found)
    head(axes, scene, f"{scene.tasks[i].name}: confusion", f"{right:,} of {found.sum():,} right")
    return drawn


def _side(classes: int) -> float:
    """Inches of the matrix."""
    return min(10.5, max(2.6, 0.52 * classes if classes <= BOTH else 6.2 + 0.06 * (classes - BOTH)))


def _names(axes: Axes, classes: tuple[str, ...], side: float) -> None:
    short = [shorten(name, NAME) for name in classes]
    size = min(8.0, 0.8 * 72 * side / len(classes))
    if len(classes) > NAMED:
        step = len(classes) // 25
        axes.set_xticks(range(0, len(classes), step), short[::step], rotation=90, fontsize=6)
        axes.set_yticks(range(0, len(classes), step), short[::step], fontsize=6)
    else:
        room = 72 * side / len(classes) / (0.62 * size)
        turned = 90 if max(map(len, short)) > room else 0
        axes.set_xticks(range(len(classes)), short, rotation=turned, fontsize=size)
        axes.set_yticks(range(len(classes)), short, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)


def _lines(axes: Axes, classes: int) -> None:
    """Thin lines between the cells in place of the grid."""
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    edges = np.arange(classes + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(visible=True, which="minor", color="#DADADA", linewidth=0.5 if classes <= COUNTS else 0.25)
    axes.tick_params(which="minor", length=0)


def _annotate(axes: Axes, found: Indices, shares: Floats, side: float, i: int) -> None:
    both = len(found) <= BOTH
    size = min(8.5, 72 * side / len(found) / (4.2 if both else 3.2))
    for row, column in zip(*np.nonzero(found), strict=True):
        share = shares[row, column]
        text = f"{found[row, column]:,}" + (f"\n{_percent(share)}" if both else "")
        ink = "white" if _brightness(shades(i)(share)) < DARK else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink, linespacing=1.1)


def _percent(share: float) -> str:
    return "<1%" if share < 0.005 else f"{share:.0%}"


def _brightness(colour: tuple[float, float, float, float]) -> float:
    """As the eye has it, by the weights of Rec. 601."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
