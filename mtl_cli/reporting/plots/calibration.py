"""Whether a task is as often right as it is certain."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mtl_cli.reporting.plots.scene import BINS, Classed, Floats, Indices, Scene, Tagged
from mtl_cli.reporting.plots.style import INK, SOFT, colour, figure, head

HALF = 0.5


class Bins(NamedTuple):
    """By bin of the largest probability: predictions, the share of them that is right, their mean probability.

    Shapes: (BINS,) each; NaN for an empty one
    """

    counts: Indices
    right: Floats
    certainty: Floats


def bins(answers: Classed | Tagged) -> Bins:
    """Bins of equal width from 0 to 1; a certainty of 1 is in the last. Of tags, each one is a prediction."""
    if isinstance(answers, Tagged):
        certainty = np.maximum(answers.probabilities, 1 - answers.probabilities).ravel()
        right = ((answers.probabilities > HALF) == answers.targets).ravel()
    else:
        certainty = answers.probabilities.max(1)
        right = answers.probabilities.argmax(1) == answers.targets
    edges = np.linspace(0.0, 1.0, BINS + 1)
    counts = np.histogram(certainty, edges)[0]
    with np.errstate(invalid="ignore"):
        shares = np.histogram(certainty, edges, weights=right.astype(float))[0] / counts
        means = np.histogram(certainty, edges, weights=certainty)[0] / counts
    return Bins(counts, shares, means)


def calibration(scene: Scene, i: int, answers: Classed | Tagged) -> Figure:
    """A reliability diagram over a histogram of the largest probability."""
    found = bins(answers)
    drawn = figure(4.4, 5.0)
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    _reliability(above, found, colour(i))
    _histogram(below, found, colour(i))
    what = "answers, one a tag" if isinstance(answers, Tagged) else "labels"
    below.set_ylabel("answers" if isinstance(answers, Tagged) else "samples")
    below.set_xlabel(f"probability of the predicted {'yes or no' if isinstance(answers, Tagged) else 'class'}")
    line = f"ECE {answers.calibration_error:.4f} · {found.counts.sum():,} {what}"
    head(above, scene, f"{scene.tasks[i].name}: calibration", line)
    return drawn


def _reliability(axes: Axes, found: Bins, its: str) -> None:
    centres = (np.arange(BINS) + 0.5) / BINS
    there = found.counts > 0
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle=(0, (4, 3)), linewidth=1, label="as often right as certain")
    axes.bar(centres[there], found.right[there], width=0.9 / BINS, color=its, alpha=0.35, label="share of right ones")
    axes.scatter(
        found.certainty[there], found.right[there], s=20, color=its, edgecolor="white", linewidth=0.6, zorder=3,
        clip_on=False, label="at the bin's mean probability",
    )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.04)
    axes.set_ylabel("share of right predictions")
    axes.legend(loc="upper left", handlelength=1.6)


def _histogram(axes: Axes, found: Bins, its: str) -> None:
    shares = found.counts / found.counts.sum()
    mean = float(np.nansum(found.certainty * found.counts) / found.counts.sum())
    axes.bar((np.arange(BINS) + 0.5) / BINS, shares, width=0.9 / BINS, color=its)
    axes.axvline(mean, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.annotate(
        f"mean {mean:.3f}", (mean, 1), (-4, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
        ha="right" if mean > 0.35 else "left", va="top", fontsize=8, color=INK,
    )  # fmt: skip
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
