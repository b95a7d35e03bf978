"""The pictures of a run: gathers what they show. matplotlib is imported only where they are drawn."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from mtl_cli.commands.assemble import Built
from mtl_cli.commands.facts import calibration_error
from mtl_cli.evaluation import Score, evaluate
from mtl_cli.reporting.metric_log import read_events
from mtl_cli.reporting.plots.scene import Classed, Measured, Metric, Scene, TaskScene
from mtl_cli.reporting.wording import number
from mtl_cli.schema import Config
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.options import METRICS
from mtl_cli.tasks.options import Metric as MetricFacts

Scores = Mapping[str, Score]
"""By task, of one split."""
BySplit = Mapping[str, Scores]
FOLDER = "plots"


def of_the_best(
    config: Config, built: Built, run_dir: Path, scores: BySplit, epoch: int, note: Callable[[str], None]
) -> tuple[str, ...]:
    """Draws a run that is over, from test. Returns the names of what was drawn.

    Args:
        scores: of val and test, by the model as it is.
        epoch: that the model's weights are of.
        note: is told of what could not be drawn.
    """
    if not config.plots:
        return ()
    return _draw(run_dir, lambda: _scene(config, built, run_dir, "test", epoch, scores), note)


def of_the_moment(config: Config, built: Built, run_dir: Path, epoch: int, note: Callable[[str], None]) -> None:
    """Draws a run that was stopped, from val, with the weights as they are (their average, where one is kept)."""
    if not config.plots:
        return

    def scene() -> Scene:
        scores = {"val": evaluate(built.average.model, built.data.tasks, built.loaders.val)}
        return _scene(config, built, run_dir, "val", epoch, scores)

    note(f"drawing {run_dir / FOLDER} from val (Ctrl-C again leaves at once)")
    _draw(run_dir, scene, note)


def _draw(run_dir: Path, scene: Callable[[], Scene], note: Callable[[str], None]) -> tuple[str, ...]:
    """Whatever goes wrong is a note: a run is as good without pictures."""

    def failed(name: str, error: Exception) -> None:
        first = (str(error).splitlines() or [""])[0]
        note(f"{FOLDER}/{name}.png could not be drawn: {type(error).__name__}: {first}")

    try:
        from mtl_cli.reporting.plots.draw import draw

        return tuple(draw(scene(), run_dir / FOLDER, failed))
    except Exception as error:  # noqa: BLE001  # odd data, a full disk, a broken matplotlib: the run is done
        failed("*", error)
        return ()


def _scene(config: Config, built: Built, run_dir: Path, split: str, epoch: int, scores: BySplit) -> Scene:
    tasks = built.data.tasks
    events = tuple(event for event in read_events(run_dir / "metrics.jsonl") if event["event"] == "epoch")
    scenes = tuple(_task(task, scores[split][name], scores["val"][name]) for name, task in tasks.items())
    return Scene(config.task, split, epoch, scenes, events, ())


def _task(task: Task, score: Score, val: Score) -> TaskScene:
    facts = METRICS[str(task.option.__struct_config__.tag)]
    primary = task.option.primary
    names = [primary, *(name for name in task.option.metrics if name != primary)]
    metrics = tuple(Metric(name, _scale(facts[name]), val.constants[name]) for name in names)
    return TaskScene(task.name, metrics, f"{primary} {number(score.metrics[primary])}", _answers(task, score), ())


def _scale(facts: MetricFacts) -> Literal["share", "skill", "unit"]:
    if facts.bounded:
        return "share"
    return "skill" if facts.skill else "unit"


def _answers(task: Task, score: Score) -> Classed | Measured | None:
    if score.answers is None:
        return None
    found = task.readout(score.answers.outputs)
    targets = score.answers.targets
    if task.fitted.classes:
        error = calibration_error(task, score)
        assert error is not None
        probabilities = found["probabilities"].double().numpy()
        return Classed(task.fitted.classes, targets.long().numpy(), probabilities, error)
    return Measured(targets.double().numpy(), found["value"].double().numpy())
