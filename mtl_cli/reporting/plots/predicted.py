"""Numbers as predicted against what they are."""

import numpy as np
from matplotlib.figure import Figure

from mtl_cli.reporting.plots.scene import Measured, Scene
from mtl_cli.reporting.plots.style import SOFT, colour, figure, head

DENSE = 1500
"""More points than this are drawn smaller and fainter."""


def predicted(scene: Scene, i: int, answers: Measured) -> Figure:
    """Points, and the line on which they would lie without error."""
    drawn = figure(4.4, 4.6)
    axes = drawn.add_subplot()
    both = np.concatenate([answers.targets, answers.values])
    both = both[np.isfinite(both)]
    low, high = (both.min(), both.max()) if len(both) else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.5
    size, alpha = (3, 0.25) if len(answers.targets) > DENSE else (11, 0.45)
    axes.scatter(answers.targets, answers.values, s=size, alpha=alpha, color=colour(i), linewidth=0)
    axes.axline((low, low), slope=1, color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.set_aspect("equal")
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    head(axes, scene, f"{scene.tasks[i].name}: predicted against true", scene.tasks[i].score)
    return drawn
