"""A checkpoint's model, without its data: all that it needs stands in the checkpoint."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from mtl_cli.commands.build import Known, build_model, build_tasks, given_from, known_from
from mtl_cli.config import Config
from mtl_cli.data.base import InputSpec
from mtl_cli.model import MultiTaskModel
from mtl_cli.options import ConfigError
from mtl_cli.tasks.base import Task
from mtl_cli.training import checkpoint


class Restored(NamedTuple):
    """A trained model on the CPU, and what it was trained with. given: what a prepared sample looks like."""

    folder: Path
    meta: dict[str, Any]
    tasks: dict[str, Task]
    known: Known
    given: InputSpec
    model: MultiTaskModel


def restore(config: Config, folder: Path) -> Restored:
    """The model of a checkpoint. Raises: ConfigError: the checkpoint is damaged, or does not fit the configuration."""
    checkpoint.verify(folder)
    meta = checkpoint.load_meta(folder)
    known = known_from(meta)
    given = given_from(meta, known)
    tasks = build_tasks(config, known)
    model = build_model(config, tasks, given)
    load(model, folder)
    return Restored(folder, meta, tasks, known, given, model.eval())


def load(model: nn.Module, folder: Path) -> None:
    """Puts a verified checkpoint's weights into the model. Raises: ConfigError: they do not fit."""
    try:
        model.load_state_dict(checkpoint.load_weights(folder))
    except RuntimeError:
        raise ConfigError(f"checkpoint={folder} does not fit the model: leave out overrides of its parts") from None


def run_of(folder: Path) -> Path | None:
    """The run that a checkpoint stands in; None for one that was copied away."""
    run_dir = folder.parent.parent
    return run_dir if folder.parent.name == "checkpoints" and (run_dir / "config.yaml").is_file() else None
