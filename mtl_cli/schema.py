"""Assembles the rooms' typed options into one configuration, and checks it. Imports no torch."""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct
from omegaconf import OmegaConf

from mtl_cli.aggregation.options import AGGREGATIONS
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.data.options import SOURCES, DataOptions
from mtl_cli.options import ConfigError, Index, Option, Table, convert, nearest
from mtl_cli.regularizers.options import REGULARIZERS
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.options import HEADS, KINDS, LOSSES, METRICS, LossOption, TaskOption
from mtl_cli.training.options import DEVICES, OPTIMIZERS, SCHEDULERS, DeviceOption, OptimizerOption, SchedulerOption, TrainerOptions
from mtl_cli.weighting.options import WEIGHTINGS

TABLES: dict[str, Table] = {
    table.group: table
    for table in (
        BACKBONES, SHARINGS, WEIGHTINGS, AGGREGATIONS, REGULARIZERS, OPTIMIZERS, SCHEDULERS, DEVICES, KINDS, HEADS, LOSSES, SOURCES,
    )
}  # fmt: skip
CHOICES = ("backbone", "sharing", "weighting", "aggregation", "optimizer", "scheduler", "device")


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a training run is told."""

    task: Annotated[str, Meta(description="the task set's name")]
    name: Annotated[str | None, Meta(description="of the run; added to its folder's name")]
    seed: Annotated[Index, Meta(description="initial weights, order, augmentation, the methods' draws")]
    runs_dir: Annotated[str, Meta(description="where run directories go")]
    run_dir: Annotated[str | None, Meta(description="this run's directory; null: runs_dir/<task set>/<time>")]
    data_dir: Annotated[str, Meta(description="where data lies")]
    cache_dir: Annotated[str | None, Meta(description="where decoded data goes; null: the user's cache folder")]
    plugins: Annotated[list[str], Meta(description="packages with methods of your own")]
    resume: Annotated[str | None, Meta(description="a run to go on with")]
    init_from: Annotated[str | None, Meta(description="a checkpoint to start the weights from")]
    data: Annotated[DataOptions, Meta(description="how data is found and split")]
    tasks: Annotated[dict[str, TaskOption], Meta(description="what to predict")]
    backbone: Annotated[Option, Meta(description="input to stages of features")]
    sharing: Annotated[Option, Meta(description="which parameters tasks share")]
    weighting: Annotated[Option, Meta(description="loss values to weights")]
    aggregation: Annotated[Option, Meta(description="gradients to one update")]
    regularizer: Annotated[dict[str, Option], Meta(description="penalties on parameters")]
    optimizer: Annotated[OptimizerOption, Meta(description="the optimizer")]
    scheduler: Annotated[SchedulerOption, Meta(description="the learning rate's course")]
    trainer: Annotated[TrainerOptions, Meta(description="how long and how to train")]
    device: Annotated[DeviceOption, Meta(description="where to compute")]


def check(raw: dict[str, Any], folders: list[Path]) -> Config:
    """The typed configuration of a composed one; `folders` hold the YAMLs that lie beneath named entries.

    Raises: ConfigError: one line that names the key, the value and the nearest right one.
    """
    known = [f for f in Config.__struct_fields__]
    for key in raw:
        if key not in known:
            raise ConfigError(f"{key}={raw[key]} is not a key: {nearest(key, known)}")
    typed = dict(raw)
    for group in CHOICES:
        typed[group] = TABLES[group].convert(_section(raw, group), group)
    typed["regularizer"] = {
        name: REGULARIZERS.convert(value, f"regularizer.{name}") for name, value in _section(raw, "regularizer").items()
    }
    typed["trainer"] = convert(_section(raw, "trainer"), TrainerOptions, "trainer")
    typed["data"] = _data(_section(raw, "data"), folders)
    tasks = _section(raw, "tasks")
    if not tasks:
        raise ConfigError("tasks is empty: a task set names at least one task (mtl ls task)")
    typed["tasks"] = {name: _task(name, value, folders) for name, value in tasks.items()}
    config: Config = convert(typed, Config, "")
    _agree(config)
    return config


def beneath(value: Any, group: str, tag: str, key: str, folders: list[Path]) -> dict[str, Any]:
    """`value` (a name, or a dictionary with one under `tag`) over the YAML of that name."""
    entry = {tag: value} if isinstance(value, str) else value
    if not isinstance(entry, dict) or tag not in entry:
        raise ConfigError(f"{key}={value} should say its {tag}: one of {', '.join(sorted(TABLES[group]))}")
    name = entry[tag]
    if name not in TABLES[group]:
        raise ConfigError(f"{key}.{tag}={name} is not known: {nearest(str(name), list(TABLES[group]))}")
    for folder in folders:
        file = folder / group / f"{name}.yaml"
        if file.is_file():
            base = OmegaConf.to_container(OmegaConf.load(file))
            assert isinstance(base, dict)
            return {**base, **entry}
    raise ConfigError(f"{key}.{tag}={name} has no file {group}/{name}.yaml in {', '.join(map(str, folders))}")


def _section(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise ConfigError(f"{key}={value} should be a section with keys of its own (mtl ls {key})")
    return {str(k): v for k, v in value.items()}


def _data(raw: dict[str, Any], folders: list[Path]) -> DataOptions:
    parts = _section({"data.parts": raw.get("parts")}, "data.parts")
    typed = {
        name: SOURCES.convert(beneath(value, "source", "name", f"data.parts.{name}", folders), f"data.parts.{name}")
        for name, value in parts.items()
    }
    options: DataOptions = convert({**raw, "parts": typed}, DataOptions, "data")
    return options


def _task(name: str, value: Any, folders: list[Path]) -> TaskOption:
    key = f"tasks.{name}"
    entry = beneath(value, "kind", "kind", key, folders)
    for group, table in (("head", HEADS), ("loss", LOSSES)):
        if group in entry:
            below = f"{key}.{group}"
            default = _default(entry["kind"], group, folders)
            part = entry[group]
            if isinstance(part, dict) and "name" not in part:
                part = {"name": default, **part}
            entry[group] = table.convert(beneath(part, group, "name", below, folders), below)
    option: TaskOption = KINDS.convert(entry, key)
    return option


def _default(kind: str, group: str, folders: list[Path]) -> str:
    return str(beneath(kind, "kind", "kind", "kind", folders)[group])


def _agree(config: Config) -> None:
    """What holds between sections. Raises: ConfigError."""
    parts = list(config.data.parts)
    for name, task in config.tasks.items():
        kind = str(task.__struct_config__.tag)
        if task.part is None and len(parts) > 1:
            raise ConfigError(f"tasks.{name}.part is missing: with several parts say which: {', '.join(parts)}")
        if task.part is not None and task.part not in parts:
            raise ConfigError(f"tasks.{name}.part={task.part} is not a part: {nearest(task.part, parts)}")
        for metric in (*task.metrics, task.primary):
            if metric not in METRICS[kind]:
                raise ConfigError(
                    f"tasks.{name}.metrics={metric} is no metric of {kind}: {nearest(metric, list(METRICS[kind]))}"
                )
        if task.primary not in task.metrics:
            raise ConfigError(f"tasks.{name}.primary={task.primary} is not one of its metrics: {', '.join(task.metrics)}")
        assert isinstance(task.loss, LossOption)
        if kind not in task.loss.fits:
            fit = [loss for loss in LOSSES if kind in LOSSES.struct(loss).fits]  # type: ignore[attr-defined]  # all are LossOption
            raise ConfigError(
                f"tasks.{name}.loss.name={task.loss.__struct_config__.tag} does not fit {kind}: take {' or '.join(fit)}"
            )
    select = ["mean", "worst", *config.tasks]
    if config.trainer.select not in select:
        raise ConfigError(f"trainer.select={config.trainer.select} is not known: {nearest(config.trainer.select, select)}")
