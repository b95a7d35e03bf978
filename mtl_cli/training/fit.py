"""The loop: epochs of steps, an evaluation and a checkpoint after each, and one last evaluation of the best."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from torch.optim import Optimizer

from mtl_cli.data.base import Batch
from mtl_cli.data.loader import EvalLoader, TrainLoader
from mtl_cli.evaluation import Score, evaluate_together, selection
from mtl_cli.look import Look
from mtl_cli.options import Interrupted, JobError
from mtl_cli.processes import Processes, Signals
from mtl_cli.tasks.base import Task
from mtl_cli.training.average import Average
from mtl_cli.training.cost import Gauge
from mtl_cli.training.engine import Engine, Reason, Skipped
from mtl_cli.training.later import Later
from mtl_cli.training.optimizer import set_rate
from mtl_cli.training.options import TrainerOptions
from mtl_cli.training.probing import Probes
from mtl_cli.training.profile import Profile
from mtl_cli.training.progress import Progress
from mtl_cli.training.records import Records
from mtl_cli.training.schedule import Schedule
from mtl_cli.training.spans import span, within
from mtl_cli.training.stop import Stop
from mtl_cli.training.waiting import Waiting
from mtl_cli.training.watch import Watch

MOST_SKIPPED = 20
"""Steps in a row that may be skipped for gradients that are not finite, before the run is given up."""


class Loaders(NamedTuple):
    """The batches of each split; `heldout` only where a method needs it."""

    train: TrainLoader
    heldout: TrainLoader | None
    val: EvalLoader
    test: EvalLoader


class Run(NamedTuple):
    """All that the loop works with; `average` has the model that is evaluated."""

    engine: Engine
    average: Average
    optimizer: Optimizer
    tasks: Mapping[str, Task]
    loaders: Loaders
    schedule: Schedule
    options: TrainerOptions
    records: Records
    watch: Watch
    probes: Probes
    gauge: Gauge
    profile: Profile
    waiting: Waiting
    processes: Processes
    signals: Signals


def fit(run: Run, progress: Progress, stop: Stop) -> None:
    """Trains from where `progress` stands to the end.

    Raises: Interrupted: after a checkpoint, on Ctrl-C or SIGTERM. JobError: the losses are no longer finite.
    """
    if progress.step == 0:
        save(run, progress, best=False)
    with stop.later():
        while not _over(run, progress):
            _train(run, progress, stop)
            _judge(run, progress)
            _heed(run, progress, stop)
        _leave(run, run.signals.settle())


def finish(run: Run, progress: Progress) -> dict[str, dict[str, Score]]:
    """Scores of the evaluated model as it is, on val and test, written down as final."""
    model = run.average.model
    scores = {
        "val": evaluate_together(model, run.tasks, run.loaders.val, run.processes),
        "test": evaluate_together(model, run.tasks, run.loaders.test, run.processes),
    }
    best = progress.best or {}
    event = {"event": "final", "epoch": best.get("epoch"), "step": best.get("step"), "score": best.get("score")}
    found = {split: values(score) for split, score in scores.items()}
    run.records.write({**event, **found, "best_of": progress.best_of})
    return scores


def values(scores: Mapping[str, Score]) -> dict[str, dict[str, float | None]]:
    """Each task's loss and metrics, as they are written down."""
    return {task: {"loss": score.loss, **score.metrics} for task, score in scores.items()}


def save(run: Run, progress: Progress, best: bool) -> None:
    """Saves a checkpoint of this moment.

    Raises: JobError: a weight is not finite, and would take the place of one that is; or it cannot be written.
    """
    _check_weights(run, progress)
    methods = run.engine.methods
    state = {
        "optimizer": run.optimizer.state_dict(),
        "weighting": dict(methods.weighting.state_dict()),
        "aggregation": dict(methods.aggregation.state_dict()),
        "regularizers": {name: dict(its.state_dict()) for name, its in methods.regularizers.items()},
        "scale": run.engine.scale.state_dict(),
        "averaged": run.average.steps,
        "probes": run.probes.state_dict(),
        "trained": {} if run.average.model is run.engine.model else dict(run.engine.model.state_dict()),
        "progress": progress.state_dict(),
    }
    run.records.save(progress.step, state, best)


def steps_per_epoch(train: TrainLoader, options: TrainerOptions) -> int:
    """Optimizer steps in an epoch."""
    return math.ceil(train.steps / options.accumulate)


def steps_in_all(train: TrainLoader, options: TrainerOptions) -> int:
    """Optimizer steps in the run, if nothing ends it before."""
    total = steps_per_epoch(train, options) * options.epochs
    return min(total, options.max_steps or total)


def _over(run: Run, progress: Progress) -> bool:
    options = run.options
    limit = options.max_steps is not None and progress.step >= options.max_steps
    patient = options.patience is None or progress.stale < options.patience
    return progress.epoch >= options.epochs or limit or not patient


def _train(run: Run, progress: Progress, stop: Stop) -> None:
    """To the end of the epoch, or to max_steps."""
    run.watch.begin(progress, steps_per_epoch(run.loaders.train, run.options))
    later = Later(run.engine, run.average, progress)
    later.begin()
    while not _steps(run, progress, stop, later):
        pass


def _steps(run: Run, progress: Progress, stop: Stop, later: Later) -> bool:
    """The same; or back to where all was finite, as the steps since have to be taken again, and False."""
    options, per_epoch = run.options, steps_per_epoch(run.loaders.train, run.options)
    epoch = _grouped(run.loaders.train.epoch(progress.epoch, progress.batch), options.accumulate)
    for batches in run.profile.rounds(run.waiting.batches(epoch)):
        set_rate(run.optimizer, run.schedule.factor(progress.step - progress.overflows))
        heldout = _heldout(run, progress.step)
        take = partial(run.engine.step, batches, progress.step, per_epoch * options.epochs, heldout)
        look = (run.gauge if run.probes.settled else run.probes).timed(batches, take)
        progress.step += 1
        progress.batch += len(batches)
        if isinstance(look, Look):
            run.average.move()
        asked = stop.signal is not None
        last = progress.step == options.max_steps or progress.batch == run.loaders.train.steps
        due = last or asked or progress.step % options.log_every == 0 or _saves(options, progress.step)
        due = due or not run.probes.settled  # a step that is measured is waited for anyway
        with span("metrics"):
            if not later.sound(look, due):
                return False
            _record(run, progress, look)
            later.passed(due)
            samples = sum(part.portion.total for batch in batches for part in batch.parts)
            run.watch.step(progress, look, samples, waits=later.on and not due)
        if last:
            return True
        if asked or not later.on:
            _heed(run, progress, stop)
        if _saves(options, progress.step):
            save(run, progress, best=False)
    return True


def _saves(options: TrainerOptions, step: int) -> bool:
    """Whether a checkpoint is due after so many steps."""
    return options.save_every is not None and step % options.save_every == 0


def _record(run: Run, progress: Progress, look: Look | Skipped) -> None:
    if isinstance(look, Skipped):
        _skip(run, progress, look)
        return
    progress.skipped_in_a_row = 0
    progress.totals.add(look)
    if look.left_out:
        run.watch.note(f"step {progress.step} taken without {', '.join(look.left_out)}: not finite")
    if progress.step % run.options.log_every == 0:
        losses = dict(zip(look.tasks, look.losses_T.tolist(), strict=True))
        _check_finite(run, progress, losses)
        coefficients = dict(zip(look.tasks, look.factors.tolist(), strict=True))
        event = {"event": "step", "epoch": progress.epoch + 1, "step": progress.step, "losses": losses}
        run.records.write({**event, "coefficients": coefficients, "lr": _rate(run)})


def _skip(run: Run, progress: Progress, skipped: Skipped) -> None:
    """Counts a step that was not taken; ends the run where that is what was asked for, or has gone on for long."""
    if skipped.reason is Reason.UNLABELLED:
        return
    overflow = skipped.reason is Reason.OVERFLOW
    if not overflow and run.options.on_nonfinite == "stop":
        raise JobError(f"{skipped.faults} at step {progress.step}: {_remedy(run, 'trainer.on_nonfinite=skip_task')}")
    progress.totals.skip("overflow" if overflow else "not_finite")
    progress.totals.leave_out(() if overflow else skipped.faults.tasks)
    progress.overflows += overflow
    progress.skipped_in_a_row += not overflow
    run.watch.note(f"step {progress.step} skipped: {skipped.reason.value if overflow else skipped.faults}")
    if progress.skipped_in_a_row == MOST_SKIPPED:
        raise JobError(f"{MOST_SKIPPED} steps in a row were skipped, the last as {skipped.faults}: {_remedy(run)}")


def _judge(run: Run, progress: Progress) -> None:
    """Evaluates on val, decides whether this is the best epoch, and saves."""
    losses = progress.totals.losses()
    _check_finite(run, progress, losses)
    scores = evaluate_together(run.average.model, run.tasks, run.loaders.val, run.processes)
    score = selection(run.options.select, scores, run.tasks)
    number = progress.epoch + 1
    best = _better(progress, score)
    if best:
        progress.best = {"epoch": number, "step": progress.step, "score": score}
    progress.stale = 0 if best else progress.stale + 1
    _best_of(run, progress, scores, number)
    totals = progress.totals
    train = {
        "loss": losses,
        "coefficients": totals.coefficients(),
        "weights": totals.conflicts.weights(),
        "penalties": totals.penalties(),
        "gradients": totals.conflicts.event(),
        "skipped": totals.skipped(),
        "left_out": totals.left_out(),
    }
    event = {
        "event": "epoch",
        "epoch": number,
        "step": progress.step,
        "lr": _rate(run),
        "train": train,
        "val": values(scores),
        "skills": {task: found.skill for task, found in scores.items()},
        "score": score,
        "best": best,
    }
    run.records.write(event)
    if progress.batch == run.loaders.train.steps:
        run.engine.methods.weighting.after_epoch(losses)
        run.engine.methods.aggregation.after_epoch(losses)
        progress.totals.clear()
        progress.epoch, progress.batch = progress.epoch + 1, 0
    progress.judged = progress.step
    save(run, progress, best)
    run.watch.epoch(event)
    run.waiting.over(number)


def _heed(run: Run, progress: Progress, stop: Stop) -> None:
    """Saves and leaves where a signal asked for it, in this process or in another."""
    signal = run.signals.agreed(stop.signal or 0)
    if signal == 0:
        return
    if progress.judged != progress.step:
        save(run, progress, best=False)
    run.signals.settle()
    _leave(run, signal)


def _leave(run: Run, signal: int) -> None:
    """Ends the run where a signal came, when all have done their part: the first to go has the others ended."""
    if signal:
        run.processes.wait()
        raise Interrupted(128 + signal)


@within("input")
def _heldout(run: Run, step: int) -> Batch | None:
    """The held-out batch of a step: a function of the step."""
    loader = run.loaders.heldout
    if loader is None:
        return None
    return next(loader.epoch(step // loader.steps, step % loader.steps))


def _better(progress: Progress, score: float | None) -> bool:
    """Without a score, as without a validation split, the newest is the best."""
    if progress.best is None or score is None or progress.best["score"] is None:
        return True
    return score > float(progress.best["score"])


def _best_of(run: Run, progress: Progress, scores: Mapping[str, Score], number: int) -> None:
    for name, task in run.tasks.items():
        value = scores[name].metrics[task.option.primary]
        held = progress.best_of.get(name)
        if value is None or not math.isfinite(value):
            continue
        if held is None or task.signed(value) > task.signed(held["value"]):
            progress.best_of[name] = {"epoch": number, "value": value}


def _check_weights(run: Run, progress: Progress) -> None:
    for model in {run.engine.model, run.average.model}:
        for name, tensor in model.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise JobError(f"{name} is not finite at step {progress.step}: {_remedy(run)}")


def _remedy(run: Run, *more: str) -> str:
    ways = " or ".join([f"lower optimizer.lr (now {_rate(run):.3g})", "set trainer.clip_norm=1", *more])
    return f"{ways}; the last good checkpoint is {run.records.last_good()}"


def _check_finite(run: Run, progress: Progress, losses: Mapping[str, float]) -> None:
    for task, loss in losses.items():
        if not math.isfinite(loss):
            raise JobError(f"the loss of {task} is {loss} at step {progress.step}: {_remedy(run)}")


def _rate(run: Run) -> float:
    return float(run.optimizer.param_groups[0]["lr"])


def _grouped(batches: Iterator[Batch], size: int) -> Iterator[Sequence[Batch]]:
    while group := list(islice(batches, size)):
        yield group
