"""What all pictures have in common: colours, type, grid, titles."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mtl_cli.reporting.plots.scene import Scene

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
"""Of tasks, in their order: those of Okabe and Ito that show on white, and a violet in place of their yellow."""
INK = "#262626"
SOFT = "#6F6F6F"
FAINT = "#E3E3E3"
WRONG = "#C62828"


@contextmanager
def styled() -> Iterator[None]:
    """Within it matplotlib has this style, whatever its user's settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "figure.dpi": 150,
                "savefig.dpi": 150,
                "font.size": 9,
                "axes.titlesize": 10,
                "axes.titleweight": "bold",
                "axes.titlelocation": "left",
                "axes.labelsize": 9,
                "axes.labelcolor": INK,
                "axes.edgecolor": "#9A9A9A",
                "axes.linewidth": 0.8,
                "axes.axisbelow": True,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "grid.color": FAINT,
                "grid.linewidth": 0.7,
                "text.color": INK,
                "text.parse_math": False,
                "xtick.color": SOFT,
                "ytick.color": SOFT,
                "xtick.labelsize": 8,
                "ytick.labelsize": 8,
                "legend.framealpha": 0.85,
                "legend.edgecolor": "none",
                "legend.fancybox": False,
                "legend.fontsize": 8,
                "lines.linewidth": 1.6,
                "lines.solid_capstyle": "round",
            }
        )
        yield


def colour(i: int) -> str:
    """The colour of the i-th task."""
    return COLOURS[i % len(COLOURS)]


def shades(i: int) -> LinearSegmentedColormap:
    """From white to the colour of the i-th task."""
    return LinearSegmentedColormap.from_list(f"task{i}", ["#FFFFFF", colour(i)])


def figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in inches."""
    drawn = Figure(figsize=(width, height))
    drawn.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    return drawn


def head(axes: Axes, scene: Scene, title: str, line: str) -> None:
    """The title over one pair of axes, with a quieter line beneath that says what it is of."""
    titled(axes, title, f"{scene.task_set}, {scene.split}, epoch {scene.epoch} · {line}")


def titled(axes: Axes, title: str, line: str) -> None:
    """The same with that line alone."""
    axes.set_title(title, fontsize=11, pad=21)
    axes.annotate(line, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=8.5, color=SOFT)
