"""mtl train: a configuration to a trained model in a run directory."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from mtl_cli import __version__
from mtl_cli.aggregation.options import AGGREGATIONS
from mtl_cli.commands import facts, rundir
from mtl_cli.commands.build import Data, Known, build_data, build_model, known_from
from mtl_cli.data.base import Split
from mtl_cli.data.loader import EvalLoader, TrainLoader, resident
from mtl_cli.model import MultiTaskModel
from mtl_cli.options import ConfigError, Interrupted, JobError
from mtl_cli.regularizers.options import REGULARIZERS
from mtl_cli.reporting.log import RunLog
from mtl_cli.reporting.metric_log import MetricLog
from mtl_cli.reporting.records import Report
from mtl_cli.reporting.report import write_report
from mtl_cli.reporting.screen import Screen
from mtl_cli.reporting.status import StatusFile
from mtl_cli.reporting.terminal import open_screen
from mtl_cli.saved import locate
from mtl_cli.schema import Config
from mtl_cli.session import Session
from mtl_cli.training import checkpoint
from mtl_cli.training.checkpoint import Contents, Store
from mtl_cli.training.engine import Engine, Methods, Settings
from mtl_cli.training.fit import Loaders, Run, finish, fit, steps_per_epoch
from mtl_cli.training.graph import Usage, usage
from mtl_cli.training.optimizer import build_optimizer
from mtl_cli.training.options import DEVICES, OPTIMIZERS, SCHEDULERS
from mtl_cli.training.progress import Progress
from mtl_cli.training.schedule import Schedule
from mtl_cli.training.watch import Watch
from mtl_cli.weighting.options import WEIGHTINGS


class Resumed(NamedTuple):
    """Where a resumed run goes on from: a checkpoint that verifies, and what was passed over to find it."""

    folder: Path
    meta: dict[str, Any]
    passed: list[str]


class Built(NamedTuple):
    """All that a run consists of, before it has a directory."""

    data: Data
    model: MultiTaskModel
    used: Usage
    engine: Engine
    loaders: Loaders
    device: torch.device
    notes: list[str]


def run(config: Config, session: Session) -> None:
    """Trains, or goes on training, and reports.

    Raises: ConfigError: before anything is written. Interrupted: saved on a signal. JobError: logged in the run.
    """
    run_dir = rundir.choose(config, session)
    resumed = _resumed(run_dir) if config.resume is not None else None
    built = _build(config, resumed)
    rundir.furnish(run_dir, config, session, built.data, built.device)
    log, status = RunLog(run_dir), StatusFile(run_dir, rundir.resume_command(run_dir))
    screen = open_screen(sys.stdout, log)
    progress = _progress(config, built, resumed)
    try:
        _run(config, session, built, resumed, run_dir, screen, status, progress)
    except (Interrupted, KeyboardInterrupt):
        screen.note(f"stopped at step {progress.step}; go on with:")
        screen.command(rundir.resume_command(run_dir))
        status.write("interrupted", progress.epoch, progress.step)
        raise
    except Exception as error:
        log.failure(error)
        line = str(error) if isinstance(error, JobError) else f"{type(error).__name__}: {_first_line(error)}"
        _try(lambda: status.write("failed", progress.epoch, progress.step, error=line))
        raise JobError(f"{line} ({run_dir / 'train.log'} has the traceback)") from error
    finally:
        screen.close()
        log.close()


def _run(
    config: Config,
    session: Session,
    built: Built,
    resumed: Resumed | None,
    run_dir: Path,
    screen: Screen,
    status: StatusFile,
    progress: Progress,
) -> None:
    """Puts the loop together, lets it run, and evaluates the best checkpoint once."""
    store = Store(run_dir)
    primary = {name: task.option.primary for name, task in built.data.tasks.items()}
    metrics = {name: task.option.metrics for name, task in built.data.tasks.items()}
    log = MetricLog(run_dir, metrics, ["sharing", *config.regularizer])
    made = Run(
        built.engine,
        built.engine.optimizer,
        built.data.tasks,
        built.loaders,
        _schedule(config, built, progress.schedule_epochs),
        config.trainer,
        store,
        log,
        Watch(screen, status, primary, config.trainer),
        _snapshot(config, built),
    )
    if resumed is not None:
        _restore(made, built, resumed, progress)
    header = facts.header("train", config, built.data, built.model, built.used, built.device, run_dir)
    screen.header(header)
    for line in (*built.notes, *_notes(config, built, resumed, progress)):
        screen.note(line)
    status.write("running", progress.epoch, progress.step)
    fit(made, progress)
    _load_best(built.model, store)
    scores = finish(made, progress)
    log.close()
    rows = facts.result_rows(built.data.tasks, scores)
    screen.result(rows)
    best = progress.best or {}
    report = Report(
        header=header,
        overrides=tuple(session.overrides),
        epochs=progress.epoch,
        select=config.trainer.select,
        selected=int(best.get("epoch", 0)),
        results=rows,
        bests=facts.best_epochs(built.data.tasks, progress),
        labels=facts.label_facts(built.data),
        data=built.data.digests,
    )
    screen.note(f"report: {write_report(report)}")
    status.write("done", progress.epoch, progress.step)


def _build(config: Config, resumed: Resumed | None) -> Built:
    device: torch.device = DEVICES.target(config.device)(config.device)
    weighting_class = WEIGHTINGS.target(config.weighting)
    aggregation_class = AGGREGATIONS.target(config.aggregation)
    needs = (weighting_class.needs, aggregation_class.needs)
    data = build_data(config, any(n.heldout for n in needs), _known(resumed))
    _same_data(config, data, resumed)
    model = build_model(config, data).to(device)
    notes = _start_from(config, model)
    for task in data.tasks.values():
        task.loss.to(device)
    weighting = weighting_class(config.weighting, data.tasks).to(device)
    aggregation = aggregation_class(config.aggregation, list(data.tasks)).to(device)
    regularizers = {name: REGULARIZERS.target(option)(option) for name, option in config.regularizer.items()}
    loaders = _loaders(config, data, device)
    used = usage(model, _examples(data, device))
    optimizer = build_optimizer(
        config.optimizer, OPTIMIZERS.target(config.optimizer), model, [*model.sharing.groups(), *weighting.groups()]
    )
    methods = Methods(weighting, aggregation, regularizers)
    settings = Settings(config.seed, config.trainer.clip_norm, config.trainer.precision == "bf16")
    engine = Engine(model, data.tasks, methods, optimizer, used, settings)
    if not used.shared and aggregation_class.needs.level != "losses":
        name = config.aggregation.__struct_config__.tag
        notes.append(f"no parameter is reached by two tasks: aggregation={name} has nothing to balance")
    return Built(data, model, used, engine, loaders, device, notes)


def _loaders(config: Config, data: Data, device: torch.device) -> Loaders:
    preparations = data.known.preparations
    train = _train_loader(config, data.splits["train"], data, device)
    heldout = _train_loader(config, data.splits["heldout"], data, device) if data.splits["heldout"] else None
    size = config.trainer.eval_batch_size
    val, test = (EvalLoader(resident(data.splits[s], device), preparations, size, device) for s in ("val", "test"))
    return Loaders(train, heldout, val, test)


def _train_loader(config: Config, split: Split, data: Data, device: torch.device) -> TrainLoader:
    for part, found in split.items():
        if len(found.inputs) == 0:
            raise ConfigError(
                f"data.parts.{part} leaves no sample to train on: lower data.validation or raise data.limit"
            )
    return TrainLoader(split, data.known.preparations, config.trainer.batch_size, config.seed, device)


def _examples(data: Data, device: torch.device) -> dict[str, torch.Tensor]:
    return {part: torch.zeros(2, *data.shape, device=device) for part in data.splits["train"]}


def _schedule(config: Config, built: Built, total_epochs: int) -> Schedule:
    course = SCHEDULERS.target(config.scheduler)(config.scheduler)
    return Schedule(config.scheduler, course, steps_per_epoch(built.loaders.train, config.trainer), total_epochs)


def _progress(config: Config, built: Built, resumed: Resumed | None) -> Progress:
    total = config.scheduler.total_epochs
    if total is None:
        total = config.trainer.epochs if resumed is None else int(resumed.meta["schedule_epochs"])
    return Progress(list(built.data.tasks), built.device, total)


def _snapshot(config: Config, built: Built) -> Callable[[dict[str, Any]], Contents]:
    text = rundir.resolved(config)

    def contents(state: dict[str, Any]) -> Contents:
        progress = state["progress"]
        meta = {
            "version": __version__,
            "epoch": progress["epoch"],
            "step": progress["step"],
            "schedule_epochs": progress["schedule_epochs"],
            "shape": list(built.data.shape),
            "fitted": msgspec.to_builtins(built.data.known.fitted),
            "preparations": msgspec.to_builtins(built.data.known.preparations),
            "data": built.data.digests,
        }
        return Contents(built.model.state_dict(), state, meta, text)

    return contents


def _resumed(run_dir: Path) -> Resumed:
    folder, passed = Store(run_dir).newest()
    if folder is None:
        raise ConfigError(f"resume={run_dir} has no checkpoint that verifies: start the run again")
    return Resumed(folder, checkpoint.load_meta(folder), passed)


def _restore(run: Run, built: Built, resumed: Resumed, progress: Progress) -> None:
    """Puts everything back to where the checkpoint was written."""
    schedule_epochs = progress.schedule_epochs
    built.model.load_state_dict(checkpoint.load_weights(resumed.folder))
    state = checkpoint.load_training(resumed.folder, built.device)
    run.optimizer.load_state_dict(state["optimizer"])
    run.engine.methods.weighting.load_state_dict(state["weighting"])
    run.engine.methods.aggregation.load_state_dict(state["aggregation"])
    progress.load_state_dict(state["progress"])
    progress.schedule_epochs = schedule_epochs
    run.log.cut(state["metric_log"])
    run.store.point("last", resumed.folder.name)
    if progress.best is not None and progress.best["step"] == progress.judged == progress.step:
        run.store.point("best", resumed.folder.name)


def _notes(config: Config, built: Built, resumed: Resumed | None, progress: Progress) -> list[str]:
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


def _same_data(config: Config, data: Data, resumed: Resumed | None) -> None:
    if resumed is None:
        return
    for part, digest in data.digests.items():
        if resumed.meta["data"][part] != digest:
            raise ConfigError(
                f"data_dir={config.data_dir} holds other data for {part} than the run was trained on: put it back, or "
                "start a new run with init_from="
            )


def _known(resumed: Resumed | None) -> Known | None:
    return None if resumed is None else known_from(resumed.meta)


def _start_from(config: Config, model: MultiTaskModel) -> list[str]:
    """Takes over the weights of `init_from` that fit by name and shape."""
    if config.init_from is None:
        return []
    folder = locate(config.init_from, "init_from")
    checkpoint.verify(folder)
    own, given = model.state_dict(), checkpoint.load_weights(folder)
    fitting = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise ConfigError(f"init_from={config.init_from} has no weight that fits: choose its backbone and sharing")
    model.load_state_dict(fitting, strict=False)
    left = sorted(set(own) - set(fitting))
    tail = f"; not in it: {', '.join(left[:4])}{', ...' if len(left) > 4 else ''}" if left else ""
    return [f"init_from: {len(fitting)} of {len(own)} tensors taken over{tail}"]


def _load_best(model: MultiTaskModel, store: Store) -> None:
    folder = store.pointed("best")
    if folder is None:
        raise JobError(f"{store.root} has no best checkpoint")
    checkpoint.verify(folder)
    model.load_state_dict(checkpoint.load_weights(folder))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _try(action: Callable[[], None]) -> None:
    """Runs what may fail for the reason that is being reported already, such as a full disk."""
    try:
        action()
    except OSError:
        return
