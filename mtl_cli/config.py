"""Everything that a run is told, as one typed struct, and the tables of what it may name. Imports no torch."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mtl_cli.aggregation.options import AGGREGATIONS
from mtl_cli.backbones.options import BACKBONES, BackboneOption
from mtl_cli.data.options import SAMPLINGS, SOURCES, DataOptions
from mtl_cli.options import Index, Option, Table
from mtl_cli.regularizers.options import REGULARIZERS
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.shipping.options import FORMATS, ExportOptions, PredictKeys, PredictOptions
from mtl_cli.tasks.options import HEADS, KINDS, LOSSES, TaskOption
from mtl_cli.training.options import (
    DEVICES,
    OPTIMIZERS,
    SCHEDULERS,
    DeviceOption,
    OptimizerOption,
    SchedulerOption,
    TrainerOptions,
)
from mtl_cli.weighting.options import WEIGHTINGS

TABLES: dict[str, Table] = {table.group: table for table in (
    BACKBONES, SHARINGS, WEIGHTINGS, AGGREGATIONS, REGULARIZERS, OPTIMIZERS, SCHEDULERS, DEVICES, KINDS, HEADS, LOSSES,
    SOURCES, SAMPLINGS, FORMATS,
)}  # fmt: skip
CHOICES = ("backbone", "sharing", "weighting", "aggregation", "optimizer", "scheduler", "device")
BELOW = {
    "head": "tasks.NAME.head",
    "loss": "tasks.NAME.loss",
    "kind": "tasks.NAME.kind",
    "metrics": "tasks.NAME.metrics",
    "source": "data.parts.NAME",
    "sampling": "data.sampling",
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
AT_THE_TOP: dict[str, type[Struct]] = {"predict": PredictKeys}
"""Keys that a command has beside its section."""
