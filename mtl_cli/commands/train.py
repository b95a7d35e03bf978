"""mtl train: a configuration to a trained model in a run directory."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mtl_cli import __version__
from mtl_cli.commands import facts, pictures, rundir
from mtl_cli.commands.assemble import Built, Resumed, assemble
from mtl_cli.commands.scenes import BySplit
from mtl_cli.config import Config
from mtl_cli.options import ConfigError, Interrupted, JobError
from mtl_cli.reporting import tensorboard
from mtl_cli.reporting.log import RunLog, spoken
from mtl_cli.reporting.metric_log import MetricLog
from mtl_cli.reporting.records import Header, PictureFacts, Report
from mtl_cli.reporting.report import write_report
from mtl_cli.reporting.screen import Screen
from mtl_cli.reporting.status import StatusFile
from mtl_cli.reporting.terminal import open_screen
from mtl_cli.session import Session
from mtl_cli.training import checkpoint
from mtl_cli.training.checkpoint import Contents, Store
from mtl_cli.training.choices import choices
from mtl_cli.training.cost import Gauge, in_words
from mtl_cli.training.device import place, settled_format
from mtl_cli.training.fit import Run, finish, fit, steps_in_all, steps_per_epoch
from mtl_cli.training.options import SCHEDULERS
from mtl_cli.training.probing import Probes
from mtl_cli.training.profile import Profile
from mtl_cli.training.progress import Progress
from mtl_cli.training.schedule import Schedule
from mtl_cli.training.stop import Stop
from mtl_cli.training.watch import Watch


class Job(NamedTuple):
    """One call of `mtl train`: what was asked for, what was built of it, and where it goes."""

    config: Config
    session: Session
    built: Built
    resumed: Resumed | None
    run_dir: Path


def run(config: Config, session: Session) -> None:
    """Trains, or goes on training, and reports.

    Raises: ConfigError: before anything is written. Interrupted: saved on a signal. JobError: logged in the run.
    """
    tensorboard.wanted(config.tensorboard)
    run_dir = rundir.choose(config, session)
    resumed = _resumed(run_dir) if config.resume is not None else None
    with spoken(sys.stdout):
        built = assemble(config, resumed)
    job = Job(config, session, built, resumed, run_dir)
    with rundir.alone(run_dir):
        rundir.furnish(run_dir, config, session, built.data, built.device)
        _in_its_directory(job)


def _in_its_directory(job: Job) -> None:
    """Trains; whatever ends it is written down there."""
    run_dir = job.run_dir
    log, status = RunLog(run_dir), StatusFile(run_dir, rundir.resume_command(run_dir))
    screen = open_screen(sys.stdout, log)
    progress = _progress(job)
    stop = Stop()
    try:
        with stop:
            _train(job, progress, screen, status, stop)
    except (Interrupted, KeyboardInterrupt) as told:
        screen.note(f"stopped at step {progress.step}; go on with:")
        screen.command(rundir.resume_command(run_dir))
        _try(lambda: status.write("interrupted", progress.epoch, progress.step))
        if isinstance(told, Interrupted) and stop.signal == signal.SIGINT:
            pictures.of_the_moment(job.config, job.built, run_dir, _under_way(progress), screen.note)
        raise
    except Exception as error:
        log.failure(error)
        line = _said(error, run_dir)
        _try(lambda: status.write("failed", progress.epoch, progress.step, error=line))
        raise JobError(f"{line} ({run_dir / 'train.log'} has the traceback)") from error
    finally:
        screen.close()
        log.close()


def _train(job: Job, progress: Progress, screen: Screen, status: StatusFile, stop: Stop) -> None:
    """Lets the loop run, evaluates the best checkpoint once, and reports."""
    built = job.built
    loop = _loop(job, progress, Watch(screen, status, _primary(built), job.config.trainer))
    if job.resumed is not None:
        _restore(loop, built, job.resumed, progress)
    if tensorboard.wanted(job.config.tensorboard):
        loop.log.follow(tensorboard.EventFile(job.run_dir, progress.step))
    cost = in_words(built.engine, job.config.aggregation, job.config.trainer.accumulate)
    epoch = built.loaders.train.in_words(job.config.trainer.accumulate)
    header = facts.header(job.config, built.data, built.model, built.used, built.device, job.run_dir, cost, epoch)
    screen.header(header)
    for line in (*built.notes, *_notes(job, progress)):
        screen.note(line)
    status.write("running", progress.epoch, progress.step)
    fit(loop, progress, stop)
    loop.profile.finish()
    _load_best(built, job.config, loop.store)
    scores = finish(loop, progress)
    loop.log.close()
    screen.result(facts.result_rows(built.data.tasks, scores))
    learned = tuple(built.average.model.sharing.learned())
    for line in learned:
        screen.command(line)
    assert progress.best is not None
    drawn = pictures.of_the_best(job.config, built, job.run_dir, scores, progress.best["epoch"], screen.note)
    screen.note(f"report: {write_report(_report(job, progress, header, scores, drawn, learned))}")
    status.write("done", progress.epoch, progress.step)


def _loop(job: Job, progress: Progress, watch: Watch) -> Run:
    """What the loop works with."""
    built, config = job.built, job.config
    metrics = {name: task.option.metrics for name, task in built.data.tasks.items()}
    steps = steps_in_all(built.loaders.train, config.trainer)
    probes = Probes(choices(config.trainer, built.engine, built.average, lambda: steps - progress.step), watch.note)
    gauge = Gauge(built.engine, watch.note)
    folder = job.run_dir / "profile" if config.trainer.profile else None
    return Run(
        built.engine,
        built.average,
        built.engine.optimizer,
        built.data.tasks,
        built.loaders,
        _schedule(config, built, progress.schedule_epochs),
        config.trainer,
        Store(job.run_dir),
        MetricLog(job.run_dir, metrics, ["sharing", *config.regularizer]),
        watch,
        probes,
        gauge,
        Profile(folder, lambda: probes.settled and gauge.done, watch.note),
        _snapshot(config, built),
    )


def _report(
    job: Job,
    progress: Progress,
    header: Header,
    scores: BySplit,
    drawn: tuple[PictureFacts, ...],
    learned: tuple[str, ...],
) -> Report:
    assert progress.best is not None
    tasks = job.built.data.tasks
    return Report(
        header=header,
        overrides=rundir.told(job.run_dir, job.session),
        epochs=_under_way(progress),
        select=job.config.trainer.select,
        selected=int(progress.best["epoch"]),
        results=facts.result_rows(tasks, scores),
        bests=facts.best_epochs(tasks, progress),
        labels=facts.label_facts(job.built.data),
        data=job.built.data.digests,
        calibrations=facts.calibrations(tasks, scores),
        pictures=drawn,
        learned=learned,
    )


def _under_way(progress: Progress) -> int:
    """The number of the epoch that the weights are of."""
    return progress.epoch + (progress.batch > 0)


def _primary(built: Built) -> dict[str, str]:
    return {name: task.option.primary for name, task in built.data.tasks.items()}


def _schedule(config: Config, built: Built, total_epochs: int) -> Schedule:
    course = SCHEDULERS.target(config.scheduler)(config.scheduler)
    return Schedule(config.scheduler, course, steps_per_epoch(built.loaders.train, config.trainer), total_epochs)


def _progress(job: Job) -> Progress:
    total = job.config.scheduler.total_epochs
    if total is None:
        total = job.config.trainer.epochs if job.resumed is None else int(job.resumed.meta["schedule_epochs"])
    return Progress(list(job.built.data.tasks), job.built.device, total)


def _snapshot(config: Config, built: Built) -> Callable[[dict[str, Any]], Contents]:
    text = rundir.resolved(config)

    def contents(state: dict[str, Any]) -> Contents:
        progress = state["progress"]
        meta = {
            "version": __version__,
            "epoch": progress["epoch"],
            "step": progress["step"],
            "schedule_epochs": progress["schedule_epochs"],
            "shape": list(built.data.given.shape),
            "fitted": msgspec.to_builtins(built.data.known.fitted),
            "preparations": msgspec.to_builtins(built.data.known.preparations),
            "data": built.data.digests,
            "decided": state["probes"]["decided"],
        }
        return Contents(built.average.model.state_dict(), state, meta, text)

    return contents


def _resumed(run_dir: Path) -> Resumed:
    folder, passed = Store(run_dir).newest()
    if folder is None:
        raise ConfigError(f"resume={run_dir} has no checkpoint that verifies: start the run again")
    return Resumed(folder, checkpoint.load_meta(folder), passed)


def _restore(run: Run, built: Built, resumed: Resumed, progress: Progress) -> None:
    """Puts everything back to where the checkpoint was written."""
    schedule_epochs = progress.schedule_epochs
    weights, state = checkpoint.load_weights(resumed.folder), checkpoint.load_training(resumed.folder, built.device)
    built.model.load_state_dict(state["trained"] or weights)
    built.average.model.load_state_dict(weights)
    built.average.goes_on(state["averaged"])
    run.engine.scale.load_state_dict(state["scale"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.engine.methods.weighting.load_state_dict(state["weighting"])
    run.engine.methods.aggregation.load_state_dict(state["aggregation"])
    for name, regularizer in run.engine.methods.regularizers.items():
        if regularizer.state_dict():  # what learns nothing has none, nor has a checkpoint from before there was any
            regularizer.load_state_dict(state["regularizers"][name])
    progress.load_state_dict(state["progress"])
    progress.schedule_epochs = schedule_epochs
    if "probes" in state:  # a checkpoint from before there was any probing has none
        run.probes.load_state_dict(state["probes"])
    run.log.cut(state["metric_log"])
    run.store.point("last", resumed.folder.name)
    if progress.best is not None and progress.best["step"] == progress.judged == progress.step:
        run.store.point("best", resumed.folder.name)


def _notes(job: Job, progress: Progress) -> list[str]:
    config, built, resumed = job.config, job.built, job.resumed
    if resumed is None:
        return []
    lines = [f"passed over: {line}" for line in resumed.passed]
    lines.append(f"going on from {resumed.folder.name}, epoch {progress.epoch + 1}")
    if config.trainer.epochs > progress.schedule_epochs:
        last = _schedule(config, built, progress.schedule_epochs).factor(sys.maxsize)
        lines.append(
            f"the schedule ends after epoch {progress.schedule_epochs}, as it was begun; from there on its last rate, "
            f"{config.optimizer.lr * last:.3g}, stays (scheduler.total_epochs={config.trainer.epochs} stretches it)"
        )
    return lines


def _load_best(built: Built, config: Config, store: Store) -> None:
    folder = store.pointed("best")
    if folder is None:
        raise JobError(f"{store.root} has no best checkpoint")
    checkpoint.verify(folder)
    form = settled_format(config.trainer, checkpoint.decided(checkpoint.load_meta(folder)))
    place(built.average.model, built.device, form)  # as `mtl eval` will have it
    built.average.model.load_state_dict(checkpoint.load_weights(folder))


def _said(error: Exception, run_dir: Path) -> str:
    """What ended the run, in one line."""
    from torch._dynamo.exc import TorchDynamoException  # torch has no public name for what its compiler raises

    if isinstance(error, TorchDynamoException):
        way_out = f"{rundir.resume_command(run_dir)} trainer.compile=false"
        return f"a step's passes could not be compiled ({_first_line(error)}): go on without: {way_out}"
    return str(error) if isinstance(error, JobError) else f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _try(action: Callable[[], None]) -> None:
    """Runs what may fail for the reason that is being reported already, such as a full disk."""
    try:
        action()
    except OSError:
        return
