"""mtl train: a configuration to a trained model in a run directory."""

import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from mtl_cli.commands import facts, launch, pictures, rundir
from mtl_cli.commands.assemble import Built, Resumed, assemble
from mtl_cli.commands.scenes import BySplit
from mtl_cli.commands.state import load_best, newest, restore, snapshot
from mtl_cli.config import Config
from mtl_cli.options import ConfigError, Interrupted, JobError
from mtl_cli.processes import GoneError, Processes, Signals
from mtl_cli.reporting import tensorboard
from mtl_cli.reporting.log import RunLog, spoken
from mtl_cli.reporting.metric_log import MetricLog
from mtl_cli.reporting.records import Header, PictureFacts, Report
from mtl_cli.reporting.report import write_report
from mtl_cli.reporting.screen import Screen
from mtl_cli.reporting.status import NoStatus, StatusFile
from mtl_cli.reporting.terminal import open_screen, silent
from mtl_cli.session import Session
from mtl_cli.training.checkpoint import Store
from mtl_cli.training.choices import choices
from mtl_cli.training.cost import Gauge, in_words
from mtl_cli.training.fit import Run, finish, fit, steps_in_all, steps_per_epoch
from mtl_cli.training.group import joined
from mtl_cli.training.options import SCHEDULERS
from mtl_cli.training.probing import Probes
from mtl_cli.training.profile import Profile
from mtl_cli.training.progress import Progress
from mtl_cli.training.records import Kept, Records, Unkept
from mtl_cli.training.schedule import Schedule
from mtl_cli.training.stop import Stop
from mtl_cli.training.waiting import Waiting
from mtl_cli.training.watch import Watch


class Job(NamedTuple):
    """One call of `mtl train`: what was asked for, what was built of it, where it goes, and who works on it."""

    config: Config
    session: Session
    built: Built
    resumed: Resumed | None
    run_dir: Path
    processes: Processes


def run(config: Config, session: Session) -> None:
    """Trains, or goes on training, and reports; starts the processes that were asked for.

    Raises: ConfigError: before anything is written. Interrupted: saved on a signal. JobError: logged in the run.
        SaidError: a process has told what went wrong.
    """
    tensorboard.wanted(config.tensorboard)
    count = launch.wanted(config.trainer)
    if count > 1:
        launch.start(count, session.words)
        return
    with joined() as processes:
        _run(config, session, processes)


def _run(config: Config, session: Session, processes: Processes) -> None:
    run_dir = processes.told(lambda: rundir.choose(config, session))
    resumed = processes.told(lambda: newest(run_dir)) if config.resume is not None else None
    with spoken(sys.stdout) if processes.lead else nullcontext():
        built = assemble(config, resumed, processes)
    job = Job(config, session, built, resumed, run_dir, processes)
    if not processes.lead:
        _follow(job)
        return
    with rundir.alone(run_dir):
        rundir.furnish(run_dir, config, session, built.data, built.device, processes.size)
        _in_its_directory(job)


def _follow(job: Job) -> None:
    """Takes the same steps as the first process does, and writes nothing."""
    screen, progress = silent(), _progress(job)
    try:
        with Stop(told_twice=True) as stop:
            watch = Watch(screen, NoStatus(), _primary(job.built), job.config.trainer)
            loop = _loop(job, progress, watch, Unkept(Store(job.run_dir)))
            _fit(job, loop, progress, stop)
    except (ConfigError, JobError):
        raise
    except Exception as error:
        line = f"{type(error).__name__}: {_first_line(error)}"
        raise JobError(f"process {job.processes.rank} of {job.processes.size}: {line}") from error
    finally:
        screen.close()


def _in_its_directory(job: Job) -> None:
    """Trains; whatever ends it is written down there."""
    run_dir = job.run_dir
    log, status = RunLog(run_dir), StatusFile(run_dir, rundir.resume_command(run_dir))
    screen = open_screen(sys.stdout, log)
    progress = _progress(job)
    stop = Stop(told_twice=job.processes.grouped)
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
    except GoneError as error:
        log.failure(error)
        line = f"{error}; go on with: {rundir.resume_command(run_dir)}"
        _try(lambda: status.write("failed", progress.epoch, progress.step, error=line))
        raise GoneError(line) from error
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
    records = _records(job)
    loop = _loop(job, progress, Watch(screen, status, _primary(built), job.config.trainer), records)

    def begin() -> None:
        if tensorboard.wanted(job.config.tensorboard):
            records.log.follow(tensorboard.EventFile(job.run_dir, progress.step))
        screen.header(header)
        for line in (*built.notes, *_notes(job, progress)):
            screen.note(line)
        status.write("running", progress.epoch, progress.step)

    header = _header(job)
    scores = _fit(job, loop, progress, stop, begin)
    records.log.close()
    screen.result(facts.result_rows(built.data.tasks, scores))
    learned = tuple(built.average.model.sharing.learned())
    for line in learned:
        screen.command(line)
    assert progress.best is not None
    drawn = pictures.of_the_best(job.config, built, job.run_dir, scores, progress.best["epoch"], screen.note)
    screen.note(f"report: {write_report(_report(job, progress, header, scores, drawn, learned))}")
    status.write("done", progress.epoch, progress.step)


def _fit(job: Job, loop: Run, progress: Progress, stop: Stop, begin: Callable[[], None] = lambda: None) -> BySplit:
    """Goes to the end from wherever the run stands; `begin` is called where that is known. Gives the best's scores."""
    built = job.built
    if job.resumed is not None:
        restore(loop, built, job.resumed, progress)
    begin()
    fit(loop, progress, stop)
    loop.profile.finish()
    load_best(built, job.config, Store(job.run_dir), job.processes)
    return finish(loop, progress)


def _records(job: Job) -> Kept:
    metrics = {name: task.option.metrics for name, task in job.built.data.tasks.items()}
    log = MetricLog(job.run_dir, metrics, ["sharing", *job.config.regularizer])
    return Kept(Store(job.run_dir), log, snapshot(job.config, job.built))


def _loop(job: Job, progress: Progress, watch: Watch, records: Records) -> Run:
    """What the loop works with."""
    built, config = job.built, job.config
    steps = steps_in_all(built.loaders.train, config.trainer)
    offered = choices(config.trainer, built.engine, built.average, lambda: steps - progress.step)
    probes = Probes(offered, watch.note, job.processes)
    gauge = Gauge(built.engine, watch.note)
    folder = job.run_dir / "profile" if config.trainer.profile and job.processes.lead else None
    return Run(
        built.engine,
        built.average,
        built.engine.optimizer,
        built.data.tasks,
        built.loaders,
        _schedule(config, built, progress.schedule_epochs),
        config.trainer,
        records,
        watch,
        probes,
        gauge,
        Profile(folder, lambda: probes.settled and gauge.done, watch.note),
        Waiting(watch.note),
        job.processes,
        Signals(job.processes),
    )


def _header(job: Job) -> Header:
    built, config = job.built, job.config
    cost = in_words(built.engine, config.aggregation, config.trainer.accumulate)
    epoch = built.loaders.train.in_words(config.trainer.accumulate)
    device = rundir.describe(built.device, job.processes.size)
    return facts.header(config, built.data, built.model, built.used, device, job.run_dir, cost, epoch)


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
    return Progress(list(job.built.data.tasks), total)


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
