"""The one place that lists the pictures, and writes them."""

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from mtl_cli.reporting.atomic import write_atomic
from mtl_cli.reporting.plots.calibration import calibration
from mtl_cli.reporting.plots.confusion import confusion
from mtl_cli.reporting.plots.curves import curves
from mtl_cli.reporting.plots.mosaic import inputs, worst
from mtl_cli.reporting.plots.predicted import predicted
from mtl_cli.reporting.plots.scene import Classed, Measured, Scene
from mtl_cli.reporting.plots.style import styled


class Picture(NamedTuple):
    """A name, which is its file's, and what draws it."""

    name: str
    draw: Callable[[], Figure]


def pictures(scene: Scene) -> Iterator[Picture]:
    """What there is to draw of a run."""
    if scene.epochs:
        yield Picture("curves", partial(curves, scene))
    for i, task in enumerate(scene.tasks):
        if isinstance(task.answers, Classed):
            yield Picture(f"confusion-{task.name}", partial(confusion, scene, i, task.answers))
            yield Picture(f"calibration-{task.name}", partial(calibration, scene, i, task.answers))
        if isinstance(task.answers, Measured):
            yield Picture(f"predicted-{task.name}", partial(predicted, scene, i, task.answers))
        if task.worst:
            yield Picture(f"worst-{task.name}", partial(worst, scene, task))
    for grid in scene.grids:
        yield Picture(f"inputs-{grid.part}", partial(inputs, scene, grid))


def draw(scene: Scene, folder: Path, failed: Callable[[str, Exception], None]) -> list[str]:
    """Draws all of them into `folder`; one that cannot be drawn is told of and stops no other. Returns those drawn."""
    folder.mkdir(exist_ok=True)
    drawn = []
    with styled():
        for picture in pictures(scene):
            try:
                write_atomic(folder / f"{picture.name}.png", _png(picture.draw()))
            except Exception as error:  # noqa: BLE001  # odd data, a full disk: the run is as good without
                failed(picture.name, error)
            else:
                drawn.append(picture.name)
    return drawn


def _png(figure: Figure) -> bytes:
    content = BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
