"""A run's state: into its checkpoints, and back from one, in every process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from mtl_cli import __version__
from mtl_cli.commands import rundir
from mtl_cli.commands.assemble import Built, Resumed
from mtl_cli.config import Config
from mtl_cli.options import ConfigError, JobError
from mtl_cli.processes import Processes
from mtl_cli.training import checkpoint
from mtl_cli.training.checkpoint import Contents, Store
from mtl_cli.training.device import place, settled_format
from mtl_cli.training.fit import Run
from mtl_cli.training.progress import Progress
from mtl_cli.training.records import Kept


def snapshot(config: Config, built: Built) -> Callable[[dict[str, Any]], Contents]:
    """Makes a checkpoint's contents of the loop's state."""
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


def newest(run_dir: Path) -> Resumed:
    """The checkpoint that a resumed run goes on from. Raises: ConfigError: none is whole."""
    folder, passed = Store(run_dir).newest()
    if folder is None:
        raise ConfigError(f"resume={run_dir} has no checkpoint that verifies: start the run again")
    return Resumed(folder, checkpoint.load_meta(folder), passed)


def restore(run: Run, built: Built, resumed: Resumed, progress: Progress) -> None:
    """Puts everything back to where the checkpoint was written; the first process reads it for all."""
    folder, told = resumed.folder, run.processes.told
    schedule_epochs = progress.schedule_epochs
    weights = told(lambda: checkpoint.load_weights(folder))
    state = checkpoint.training(told(lambda: checkpoint.read_training(folder)), built.device)
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
    if isinstance(run.records, Kept):
        _cut_back(run.records, state["metric_log"], progress, folder.name)


def load_best(built: Built, config: Config, store: Store, processes: Processes) -> None:
    """Gives the evaluated model the best epoch's weights. Raises: JobError, ConfigError: there are none, or damaged."""
    weights, decided = processes.told(lambda: _best(store))
    place(built.average.model, built.device, settled_format(config.trainer, decided))  # as `mtl eval` will have it
    built.average.model.load_state_dict(weights)


def _best(store: Store) -> tuple[dict[str, Tensor], dict[str, str]]:
    folder = store.pointed("best")
    if folder is None:
        raise JobError(f"{store.root} has no best checkpoint")
    checkpoint.verify(folder)
    return checkpoint.load_weights(folder), checkpoint.decided(checkpoint.load_meta(folder))


def _cut_back(records: Kept, position: int, progress: Progress, name: str) -> None:
    """Drops what the run wrote down after the checkpoint of that name."""
    records.log.cut(position)
    records.store.point("last", name)
    if progress.best is not None and progress.best["step"] == progress.judged == progress.step:
        records.store.point("best", name)
