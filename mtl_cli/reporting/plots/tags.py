"""How well each tag is told."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mtl_cli.reporting.plots.scene import Floats, Indices, Scene, Tagged
from mtl_cli.reporting.plots.style import INK, SOFT, colour, figure, head
from mtl_cli.reporting.wording import shorten

HALF = 0.5
SHOWN = 40
"""Of more tags the most frequent are shown."""
NAME = 22


class Told(NamedTuple):
    """By tag: how many items have it, F1, precision and recall at one half; NaN where there is none.

    Shapes: (C,) each
    """

    counts: Indices
    f1: Floats
    precision: Floats
    recall: Floats


def told(answers: Tagged) -> Told:
    """F1 = 2 TP / (said + there), precision = TP / said, recall = TP / there."""
    said, there = answers.probabilities > HALF, answers.targets == 1
    right, said_C, counts = (said & there).sum(0), said.sum(0), there.sum(0)
    with np.errstate(invalid="ignore"):
        return Told(counts, 2 * right / (said_C + counts), right / said_C, right / counts)


def tags(scene: Scene, i: int, answers: Tagged) -> Figure:
    """A bar of F1 for each tag, the most frequent first, with precision and recall on it."""
    found = told(answers)
    order = np.argsort(-found.counts, kind="stable")[:SHOWN]
    names = [shorten(answers.classes[c], NAME) for c in order]
    drawn = figure(5.6, 1.5 + 0.24 * len(order))
    axes = drawn.add_subplot()
    rows = np.arange(len(order))
    its = colour(i)
    axes.barh(rows, np.nan_to_num(found.f1[order]), height=0.62, color=its, alpha=0.3, label="F1")
    for values, marker, label in ((found.precision, "o", "precision"), (found.recall, "|", "recall")):
        axes.plot(values[order], rows, marker, color=its, markersize=5 if marker == "o" else 11, markeredgewidth=1.6,
                  linestyle="none", clip_on=False, label=label, zorder=3)  # fmt: skip
    axes.set_yticks(rows, [f"{name}  {found.counts[c]:,}" for name, c in zip(names, order, strict=True)], color=INK)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share, at one half; beside each tag: how many have it", color=SOFT)
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3, handlelength=1.4)
    left_out = (
        f" · the {len(order)} most frequent of {len(found.counts)} tags" if len(order) < len(found.counts) else ""
    )
    head(axes, scene, f"{scene.tasks[i].name}: tags", f"{scene.tasks[i].score}{left_out}")
    return drawn
