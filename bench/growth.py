"""How a step's time grows with tasks, batch, width and data: slopes of logarithms, and a picture of them."""

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, StrMethodFormatter

from bench.sides import Side, standing
from bench.step import CLASSES, SHAPE, Work, by_mtl, hand_side, mtl_side
from bench.turns import Found, Series, Step, Told, by_turns
from mtl_cli.data.base import PartData, Preparation
from mtl_cli.data.loader import TrainLoader

ABOUT = (
    "How a step grows on the cnn, batch 128, three tasks but for what grows; slope 1 is in proportion, 0 not at\n"
    "all. Data: a step with its batch, drawn and augmented, from so many images in memory."
)
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "growth.png"
TASKS, BATCHES, CHANNELS, IMAGES = (2, 4, 8, 16, 32, 64), (16, 32, 64, 128, 256), (8, 16, 32, 64), (512, 4096, 32768)
SIDES = {"mtl, sum": "sum", "mtl, upgrad": "upgrad", "by hand": None}
COLOURS = {"mtl, sum": "#0072b2", "mtl, upgrad": "#d55e00", "by hand": "#000000"}
STYLES = {"mtl, sum": "o-", "mtl, upgrad": "s-", "by hand": "x--"}
TURNS = 5


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Of the line that fits best through the logarithms."""
    x, y = ([math.log(v) for v in those] for those in (sizes, values))
    return statistics.linear_regression(x, y).slope


def _side(work: Work, aggregation: str | None) -> Side:
    return partial(hand_side, work) if aggregation is None else partial(mtl_side, work, "fixed", aggregation)


def _from_memory(count: int, device: torch.device) -> Step:
    """A step and its batch, out of so many images."""
    model, tasks, held = Work("cnn", 3, 128, device).made()
    images = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8)
    targets = {task: torch.randint(0, CLASSES, (count,)) for task in tasks}
    data = {"images": PartData(images, targets, torch.arange(count))}
    scaled = Preparation((120.0,) * 3, (60.0,) * 3, 4, True)
    loader = TrainLoader(data, {"images": scaled}, 128, 0, device)
    take = by_mtl(model, tasks, held, "fixed", "sum")
    batches = loader.epoch(0)
    epoch = 0

    def step(number: int) -> None:
        nonlocal batches, epoch
        batch = next(batches, None)
        if batch is None:
            epoch += 1
            batches = loader.epoch(epoch)
            batch = next(batches)
        held.parts[:] = batch.parts
        take(number)

    return step


def _grown(panel: str, of_size: Mapping[int, Mapping[str, Side]], told: Told) -> Found:
    """The sides of each size take turns."""
    ms: dict[str, list[list[float]]] = {}
    for sides in of_size.values():
        with standing(list(sides.values()), told) as steps:
            for name, times in zip(sides, by_turns(steps, TURNS, told), strict=True):
                ms.setdefault(name, []).append(statistics.quantiles(times, n=4))
    sizes = list(of_size)
    for name, its in ms.items():
        yield Series(panel, name, sizes, its, slope(sizes, [middle for _, middle, _ in its]))


def measure(told: Told) -> Found:
    """Four panels; by hand and with a Gramian where that tells something."""
    plain = Work("cnn", 3, 128, told.device)
    grows = {
        "tasks": {size: plain._replace(tasks=size) for size in TASKS},
        "batch": {size: plain._replace(rows=size) for size in BATCHES},
        "channels": {size: plain._replace(changes=(("channels", size),)) for size in CHANNELS},
    }
    for panel, works in grows.items():
        of_size = {size: {name: _side(work, how) for name, how in SIDES.items()} for size, work in works.items()}
        yield from _grown(panel, of_size, told)
    of_data = {size: {"mtl, sum": partial(_from_memory, size, told.device)} for size in IMAGES}
    yield from _grown("images in memory", of_data, told)


def draw(series: Sequence[Series], path: Path = PICTURE) -> None:
    """A panel for each thing that grows, both axes logarithmic, with the quartiles and the slopes."""
    panels = list(dict.fromkeys(its.panel for its in series))
    figure, axes = plt.subplots(1, len(panels), figsize=(3.4 * len(panels), 3.3), layout="constrained", squeeze=False)
    for panel, axis in zip(panels, axes[0], strict=True):
        _panel(axis, panel, [its for its in series if its.panel == panel])
    axes[0][0].set_ylabel("ms a step")
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _panel(axis: Axes, panel: str, series: Sequence[Series]) -> None:
    for its in series:
        low, middle, high = zip(*its.ms, strict=True)
        label = f"{its.name} (slope {its.slope:.2f})"
        axis.loglog(its.sizes, middle, STYLES[its.name], color=COLOURS[its.name], label=label, markersize=5, lw=1.5)
        axis.fill_between(its.sizes, low, high, color=COLOURS[its.name], alpha=0.15, lw=0)
    axis.set_xscale("log", base=2)
    axis.set_xticks(series[0].sizes, [f"{size:,}" for size in series[0].sizes])
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_xlabel(panel)
    axis.set_ylim(bottom=0.5 * min(low for its in series for low, _, _ in its.ms))
    axis.set_ylim(top=3 * max(high for its in series for _, _, high in its.ms))
    axis.grid(visible=True, which="major", alpha=0.3)
    axis.legend(fontsize=8, loc="upper left")
