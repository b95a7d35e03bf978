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
from mtl_cli.reporting.plots.gradients import gradients, seen
from mtl_cli.reporting.plots.mosaic import inputs, samples, worst
from mtl_cli.reporting.plots.predicted import predicted
from mtl_cli.reporting.plots.relations import relations
from mtl_cli.reporting.plots.rows import rows
from mtl_cli.reporting.plots.scene import Classed, Grid, Measured, Rows, Scene, Tagged
from mtl_cli.reporting.plots.style import styled
from mtl_cli.reporting.plots.tags import tags
from mtl_cli.reporting.plots.weights import weighed, weights
from mtl_cli.reporting.records import PictureFacts


class Picture(NamedTuple):
    """Its file's name, what it shows, and what draws it."""

    name: str
    caption: str
    draw: Callable[[], Figure]


def pictures(scene: Scene) -> Iterator[Picture]:
    """What there is to draw of a run."""
    if scene.epochs:
        yield Picture("curves", "Losses on train and val, and metrics on val", partial(curves, scene))
        yield from _of_methods(scene)
    for related in scene.relations:
        told = f"How tasks relate, by the covariance of their weights that {related.method} learned, as correlations"
        yield Picture(f"relations-{related.method}", told, partial(relations, scene, related))
    of = f"on {scene.split} by epoch {scene.epoch}"
    for i, task in enumerate(scene.tasks):
        name = task.name
        if isinstance(task.answers, Classed):
            told = f"{name}, {of}: which class is taken for which"
            yield Picture(f"confusion-{name}", told, partial(confusion, scene, i, task.answers))
        if isinstance(task.answers, Tagged):
            told = f"{name}, {of}: how many of each tag are found, and how many of those said are right"
            yield Picture(f"tags-{name}", told, partial(tags, scene, i, task.answers))
        if isinstance(task.answers, Classed | Tagged):
            told = f"{name}, {of}: how often predictions of each certainty are right"
            yield Picture(f"calibration-{name}", told, partial(calibration, scene, i, task.answers))
        if isinstance(task.answers, Measured):
            told = f"{name}, {of}: the predicted number over the true one"
            yield Picture(f"predicted-{name}", told, partial(predicted, scene, i, task.answers))
        if task.worst:
            told = f"{name}, {of}: the samples of the highest loss"
            yield Picture(f"worst-{name}", told, partial(worst, scene, task))
    for grid in scene.grids:
        told = f"{grid.part}: training inputs as the model sees them"
        yield Picture(f"inputs-{grid.part}", told, partial(inputs, scene, grid))


def _of_methods(scene: Scene) -> Iterator[Picture]:
    """What a weighting and an aggregation did, where they did something."""
    factors = weighed(scene)
    if factors:
        told = "What each task's gradient was multiplied by, the mean of each epoch"
        yield Picture("weights", told, partial(weights, scene, factors))
    found = seen(scene)
    if found is not None:
        told = "The tasks' gradients, before any weight: how alike, how often they conflict (cosine below 0), how long"
        yield Picture("gradients", told, partial(gradients, scene, found))


def draw(scene: Scene, folder: Path, failed: Callable[[str, Exception], None]) -> list[PictureFacts]:
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
                drawn.append(PictureFacts(picture.name, picture.caption))
    return drawn


def draw_samples(task_set: str, shown: Grid | Rows, folder: Path) -> Path:
    """Draws some samples of a part with their labels; makes the folder. Returns the picture's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{shown.part}.png"
    with styled():
        drawn = samples(task_set, shown) if isinstance(shown, Grid) else rows(task_set, shown)
        write_atomic(path, _png(drawn))
    return path


def _png(figure: Figure) -> bytes:
    content = BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
