"""Assembles the rooms' typed options into one configuration, and checks it. Imports no torch."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml  # type: ignore[import-untyped]
from msgspec import Meta, Struct

from mtl_cli.aggregation.options import AGGREGATIONS
from mtl_cli.backbones.options import BACKBONES, BackboneOption
from mtl_cli.data.options import SOURCES, DataOptions
from mtl_cli.options import ConfigError, Index, Option, Table, convert, nearest, shown, tag, text, wrapped
from mtl_cli.regularizers.options import REGULARIZERS
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.shipping.options import FORMATS, ExportOptions, PredictOptions
from mtl_cli.tasks.options import HEADS, KINDS, LOSSES, METRICS, LossOption, TaskOption
from mtl_cli.training.options import (
    DEVICES,
    OPTIMIZERS,
    SCHEDULERS,
    DeviceOption,
    OptimizerOption,
    SchedulerOption,
    Sgd,
    TrainerOptions,
)
from mtl_cli.weighting.options import WEIGHTINGS

RESERVED = ("mean", "worst")
NAME = re.compile(r"[\w-]+")
TABLES: dict[str, Table] = {table.group: table for table in (
    BACKBONES, SHARINGS, WEIGHTINGS, AGGREGATIONS, REGULARIZERS, OPTIMIZERS, SCHEDULERS, DEVICES, KINDS, HEADS, LOSSES,
    SOURCES, FORMATS,
)}  # fmt: skip
CHOICES = ("backbone", "sharing", "weighting", "aggregation", "optimizer", "scheduler", "device")
BELOW = {
    "head": "tasks.NAME.head",
    "loss": "tasks.NAME.loss",
    "kind": "tasks.NAME.kind",
    "metrics": "tasks.NAME.metrics",
    "source": "data.parts.NAME",
    "parts": "data.parts",
    "split": "eval.split",
    "format": "export.format",
}
"""Where a choice stands that is not made for the whole run."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a training run is told."""

    task: Annotated[str, Meta(description="the task set's name")]
    name: Annotated[
        Annotated[str, Meta(pattern=r"^[^/\\]+$", title="text without slashes")] | None,
        Meta(description="of the run; added to its folder's name"),
    ]
    seed: Annotated[Index, Meta(description="initial weights, order, augmentation, the methods' draws")]
    runs_dir: Annotated[str, Meta(description="where run directories go")]
    run_dir: Annotated[str | None, Meta(description="this run's directory; null: runs_dir/<task set>/<time>")]
    data_dir: Annotated[str, Meta(description="where data lies")]
    cache_dir: Annotated[str | None, Meta(description="where decoded data goes; null: the user's cache folder")]
    plugins: Annotated[list[str], Meta(description="packages with methods of your own")]
    resume: Annotated[str | None, Meta(description="a run to go on with")]
    init_from: Annotated[str | None, Meta(description="a checkpoint to start the weights from")]
    plots: Annotated[bool, Meta(description="pictures at the end and on Ctrl-C")]
    tensorboard: Annotated[
        bool | Literal["auto"], Meta(description="scalars for TensorBoard; auto: where it is installed")
    ]
    data: Annotated[DataOptions, Meta(description="how data is found and split")]
    tasks: Annotated[dict[str, TaskOption], Meta(description="what to predict")]
    backbone: Annotated[BackboneOption, Meta(description="input to stages of features")]
    sharing: Annotated[Option, Meta(description="which parameters tasks share")]
    weighting: Annotated[Option, Meta(description="loss values to weights")]
    aggregation: Annotated[Option, Meta(description="gradients to one update")]
    regularizer: Annotated[dict[str, Option], Meta(description="penalties on parameters")]
    optimizer: Annotated[OptimizerOption, Meta(description="the optimizer")]
    scheduler: Annotated[SchedulerOption, Meta(description="the learning rate's course")]
    trainer: Annotated[TrainerOptions, Meta(description="how long and how to train")]
    device: Annotated[DeviceOption, Meta(description="where to compute")]


class EvalOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `mtl eval` is told beside the checkpoint's own configuration."""

    split: Annotated[Literal["train", "val", "test"], Meta(description="which samples to evaluate on")]


ASKED: dict[str, type[Struct]] = {"eval": EvalOptions, "export": ExportOptions, "predict": PredictOptions}
"""Of each command that starts from a checkpoint: the section of its own name beside the saved configuration."""


def check(raw: dict[str, Any], folders: list[Path]) -> Config:
    """The typed configuration of a composed one; `folders` hold the YAMLs that lie beneath named entries.

    Without folders the configuration is whole, as a run saves it: nothing is laid beneath.

    Raises: ConfigError: one line that names the key, the value and the nearest right one.
    """
    for key, value in raw.items():
        if key not in Config.__struct_fields__:
            raise ConfigError(unknown(str(key), value, raw))
    typed = dict(raw)
    for group in CHOICES:
        typed[group] = _choice(_section(raw, group), group, group, folders)
    typed["regularizer"] = {
        name: _choice(value, "regularizer", f"regularizer.{name}", folders)
        for name, value in _kept(_section(raw, "regularizer")).items()
    }
    typed["trainer"] = convert(_section(raw, "trainer"), TrainerOptions, "trainer")
    typed["data"] = _data(_section(raw, "data"), folders)
    typed["tasks"] = _tasks(_kept(_section(raw, "tasks", "task")), folders)
    config: Config = convert(typed, Config, "")
    _nameable(config)
    _agree(config)
    return config


def unknown(key: str, value: Any, raw: dict[str, Any]) -> str:
    """The line for a key that stands nowhere at the top of the composed configuration `raw`."""
    line = f"{shown(key, value)} is not a key here"
    if key in BELOW:
        return f"{line}: did you mean {BELOW[key]}={text(value)}?"
    if key in ASKED and key != "eval":
        return f"{line}: it belongs to mtl {key}"
    if key in ("checkpoint", "eval"):
        return f"{line}: it belongs to mtl eval (to go on with a run: resume=, to start from its weights: init_from=)"
    inner = [f"{group}.{name}" for group, part in raw.items() if isinstance(part, Mapping) for name in part]
    right = [path for path in inner if path.endswith(f".{key}")]
    if right:
        return f"{line}: did you mean {right[0]}?"
    known = [name for name in raw if name != key] or [*Config.__struct_fields__]
    close = difflib.get_close_matches(key, [*known, "experiment"], n=1)
    return f"{line}: {f'did you mean {close[0]}?' if close else 'mtl ls lists the groups, mtl ls GROUP its keys'}"


def beneath(value: Any, group: str, key: str, folders: list[Path]) -> dict[str, Any]:
    """`value` (a name, or a dictionary that says one) over the YAML of that name."""
    table = TABLES[group]
    entry = {table.tag_field: value} if isinstance(value, str) else value
    if not isinstance(entry, dict) or table.tag_field not in entry:
        raise ConfigError(f"{shown(key, value)} should say its {table.tag_field}: {nearest('', list(table))}")
    name = entry[table.tag_field]
    if not isinstance(name, str) or name not in table:
        raise ConfigError(f"{key}.{table.tag_field}={text(name)} is not known: {nearest(text(name), list(table))}")
    if not folders:
        return entry
    for folder in folders:
        file = folder / group / f"{name}.yaml"
        if file.is_file():
            return {**section(file), **entry}
    looked = ", ".join(map(str, folders))
    raise ConfigError(f"{key}.{table.tag_field}={name} has no file {group}/{name}.yaml in {looked}")


def _choice(value: Any, group: str, key: str, folders: list[Path]) -> Any:
    """One choice of a group; what it wraps, such as an inner method, is laid over the YAML of its name first."""
    table = TABLES[group]
    name = value.get(table.tag_field) if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in table:
        return table.convert(value, key)
    entry = dict(value)
    for field, inner in wrapped(table.struct(name)).items():
        if field in entry:
            path = f"{key}.{field}"
            entry[field] = _choice(beneath(entry[field], inner, path, folders), inner, path, folders)
    return table.convert(entry, key)


def section(file: Path, *, resolve: bool = True) -> dict[str, Any]:
    """The dictionary that stands in a YAML file. Raises: ConfigError: it cannot be read, or holds none."""
    from omegaconf import OmegaConf  # not at the top: a completion needs the tables, and is waited for
    from omegaconf.errors import OmegaConfBaseException

    try:
        found = OmegaConf.to_container(OmegaConf.load(file), resolve=resolve)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{file} should hold keys and values")
    return {str(key): value for key, value in found.items()}


def _section(raw: dict[str, Any], key: str, group: str = "") -> dict[str, Any]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise ConfigError(f"{key}={text(value)} should be a section with keys of its own (mtl ls {group or key})")
    return {str(k): v for k, v in value.items()}


def _kept(entries: dict[str, Any]) -> dict[str, Any]:
    """The entries but for those that are null: so a YAML leaves out what another one has."""
    return {name: value for name, value in entries.items() if value is not None}


def _data(raw: dict[str, Any], folders: list[Path]) -> DataOptions:
    parts = _kept(_section({"data.parts": raw.get("parts")}, "data.parts", "source"))
    _named(parts, "data.parts", "name")
    typed = {}
    for name, value in parts.items():
        key = f"data.parts.{name}"
        typed[name] = SOURCES.convert(beneath(value, "source", key, folders), key)
    if not typed:
        raise ConfigError("data.parts={} is empty: a task set names at least one part (mtl ls task)")
    options: DataOptions = convert({**raw, "parts": typed}, DataOptions, "data")
    return options


def _tasks(raw: dict[str, Any], folders: list[Path]) -> dict[str, TaskOption]:
    if not raw:
        raise ConfigError("tasks={} is empty: a task set names at least one task (mtl ls task)")
    _named(raw, "tasks", "kind")
    return {name: _task(name, value, folders) for name, value in raw.items()}


def _named(entries: dict[str, Any], key: str, tag_field: str) -> None:
    """An entry without its tag, beside others that have one, is most likely a misspelt one of them."""
    whole = [
        name
        for name, value in entries.items()
        if isinstance(value, str) or (isinstance(value, dict) and tag_field in value)
    ]
    for name, value in entries.items():
        if name not in whole and isinstance(value, dict) and value and whole:
            new = f"a new one says its {tag_field}"
            raise ConfigError(f"{shown(f'{key}.{name}', value)} is not known: {nearest(name, whole)} ({new})")


def _task(name: str, value: Any, folders: list[Path]) -> TaskOption:
    key = f"tasks.{name}"
    entry = beneath(value, "kind", key, folders)
    for group, table in (("head", HEADS), ("loss", LOSSES)):
        if group in entry:
            below = f"{key}.{group}"
            part = entry[group]
            if isinstance(part, dict) and "name" not in part:
                part = {"name": _default(entry["kind"], group, folders), **part}
            entry[group] = table.convert(beneath(part, group, below, folders), below)
    option: TaskOption = KINDS.convert(entry, key)
    return option


def _default(kind: str, group: str, folders: list[Path]) -> str:
    return str(beneath(kind, "kind", "kind", folders)[group])


def _nameable(config: Config) -> None:
    """Tasks and parts name files' columns, parameters and checkpoints' keys. Raises: ConfigError."""
    for group, names in (("tasks", config.tasks), ("data.parts", config.data.parts)):
        for name in names:
            if name in RESERVED:
                raise ConfigError(f"{group}: {name!r} is no usable name: trainer.select means something else by it")
            if not NAME.fullmatch(name):
                raise ConfigError(f"{group}: {name!r} is no usable name: take letters, digits, _ and -")


def _agree(config: Config) -> None:
    """What holds between sections. Raises: ConfigError."""
    parts = list(config.data.parts)
    for name, task in config.tasks.items():
        if task.part is None and len(parts) > 1:
            raise ConfigError(f"tasks.{name}.part=null is missing: with several parts say which: {', '.join(parts)}")
        if task.part is not None and task.part not in parts:
            raise ConfigError(f"tasks.{name}.part={task.part} is not a part: {nearest(task.part, parts)}")
        _metrics_agree(name, task)
        _loss_agrees(name, task)
    optimizer = config.optimizer
    if isinstance(optimizer, Sgd) and optimizer.nesterov and optimizer.momentum == 0:
        raise ConfigError("optimizer.nesterov=true needs a momentum: set optimizer.nesterov=false")
    select = ["mean", "worst", *config.tasks]
    if config.trainer.select not in select:
        raise ConfigError(
            f"trainer.select={config.trainer.select} is not known: {nearest(config.trainer.select, select)}"
        )


def _metrics_agree(name: str, task: TaskOption) -> None:
    known = METRICS[tag(task)]
    for key, metric in (*(("metrics", metric) for metric in task.metrics), ("primary", task.primary)):
        if metric not in known:
            raise ConfigError(
                f"tasks.{name}.{key}={metric} is no metric of {tag(task)}: {nearest(metric, list(known))}"
            )
    if task.primary not in task.metrics:
        raise ConfigError(f"tasks.{name}.primary={task.primary} is not among its metrics: {', '.join(task.metrics)}")


def _loss_agrees(name: str, task: TaskOption) -> None:
    if not fits(type(task.loss), tag(task)):
        right = [loss for loss in LOSSES if fits(LOSSES.struct(loss), tag(task))]
        raise ConfigError(
            f"tasks.{name}.loss.name={tag(task.loss)} does not fit {tag(task)}: take {' or '.join(right)}"
        )


def fits(loss: type[Struct], kind: str) -> bool:
    """Whether a loss is one of that kind of task."""
    return issubclass(loss, LossOption) and kind in loss.fits
