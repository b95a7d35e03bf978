"""How tasks relate."""

from matplotlib.figure import Figure

from mtl_cli.reporting.plots.scene import Related, Scene
from mtl_cli.reporting.plots.style import INK, SOFT, figure, titled
from mtl_cli.reporting.wording import shorten

NAME = 18
"""Characters of a task's name at the side."""
NUMBERED = 20
"""Up to so many tasks each cell has its number."""


def relations(scene: Scene, related: Related) -> Figure:
    """Correlations between tasks: blue where they go together, red where against each other."""
    count = len(related.tasks)
    names = [shorten(name, NAME) for name in related.tasks]
    side = min(8.0, max(2.4, 0.55 * count))
    margin = 0.08 * max(map(len, names))
    drawn = figure(side + margin + 1.6, side + margin + 1.0)
    axes = drawn.add_subplot()
    image = axes.imshow(related.correlations, cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest")
    turned = 90 if max(map(len, names)) * count > 11 * side else 0
    axes.set_xticks(range(count), names, rotation=turned)
    axes.set_yticks(range(count), names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if count <= NUMBERED:
        for row in range(count):
            for column in range(count):
                value = related.correlations[row, column]
                ink = "white" if abs(value) > 0.6 else INK
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ink)
    bar = drawn.colorbar(image, ax=axes, shrink=0.8, aspect=24, pad=0.03)
    bar.outline.set_visible(False)
    bar.set_label("correlation of the tasks' weights", color=SOFT, fontsize=8)
    titled(axes, "How tasks relate", f"{scene.task_set} · by {related.method}, at the last step")
    return drawn
