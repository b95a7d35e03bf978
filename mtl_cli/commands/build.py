"""From a typed configuration to data, tasks, methods and a model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor

from mtl_cli.backbones.base import Backbone, BackboneFactory, Wanted
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.commands.classes import as_learned
from mtl_cli.commands.divide import (
    divide,
    encoded,
    fit_tables,
    parts_of,
    source_of,
    table_preparation,
    targeted,
)
from mtl_cli.config import Config
from mtl_cli.data.augment import fit_preparation
from mtl_cli.data.base import Frame, InputSpec, PartData, Preparation, RawPart, Source, Split, Stream
from mtl_cli.data.options import ImageSource
from mtl_cli.draws import seed_of
from mtl_cli.model import MultiTaskModel
from mtl_cli.options import ConfigError, nearest
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.base import Fitted, Head, Task
from mtl_cli.tasks.options import HEADS, KINDS, LOSSES


class Known(NamedTuple):
    """What was read off the training data: kept with every checkpoint, so that it is read off only once."""

    fitted: dict[str, Fitted]
    preparations: dict[str, Preparation]


class Data(NamedTuple):
    """The splits (train, heldout, val, test), tasks in the order of the task set, and what they rest on.

    given: what a prepared sample looks like, the same for every part. digests: of each part's content.
    sources: by part, which know where each sample comes from.
    """

    splits: dict[str, Split]
    tasks: dict[str, Task]
    part_of: dict[str, str]
    known: Known
    given: InputSpec
    digests: dict[str, str]
    sources: dict[str, Source]


def build_data(config: Config, heldout: bool, known: Known | None) -> Data:
    """Reads, splits and prepares; `known` takes the place of what would be read off train.

    Raises: ConfigError: no data, or a target that does not fit it; a task, a class or a column that is not known.
    """
    tasks = {} if known is None else build_tasks(config, known)
    wanted = Wanted() if known else BACKBONES.target(config.backbone).wants(config.backbone)
    divided: dict[str, dict[str, RawPart]] = {}
    classes: dict[str, tuple[str, ...]] = {}
    digests: dict[str, str] = {}
    sources = {part: source_of(config, part) for part in config.data.parts}
    for part, source in sources.items():
        loaded = source.load()
        digests[part] = loaded.digest
        pieces, its_classes = targeted(config, part, source, loaded)
        if known is not None:
            learned = {name: tasks[name].fitted.classes for name in its_classes}
            pieces, its_classes = as_learned(config, pieces, its_classes, learned, source), learned
        classes |= its_classes
        divided[part] = divide(config, part, pieces, its_classes, heldout)
    known = known or read_off(config, divided, classes, wanted)
    splits = encoded(divided, known.preparations)
    given = given_of(splits["train"], known.preparations)
    return Data(splits, tasks or build_tasks(config, known), parts_of(config), known, given, digests, sources)


def build_tasks(config: Config, known: Known) -> dict[str, Task]:
    """The tasks in the order of the task set. Raises: ConfigError: nothing is known of one."""
    for name in config.tasks:
        if name not in known.fitted:
            raise ConfigError(f"tasks.{name} is no task of the checkpoint: {nearest(name, list(known.fitted))}")
    return {name: _task(config, name, known.fitted[name]) for name in config.tasks}


def build_model(config: Config, tasks: Mapping[str, Task], given: InputSpec, fresh: bool = False) -> MultiTaskModel:
    """The model at its start: weights are a function of the seed; each head's of the seed and its task's name.

    Args:
        config: of the run.
        tasks: what to predict, in order.
        given: what a prepared sample looks like; data is not needed.
        fresh: whether it begins a run, with what its backbone was pretrained to; else a checkpoint will be loaded.
    Raises: ConfigError: the backbone does not fit the data, or a head or strategy reads what it lacks.
    """
    torch.manual_seed(seed_of(config.seed, "backbone"))
    factory = BackboneFactory(_backbone(config, given, fresh))
    torch.manual_seed(seed_of(config.seed, "sharing"))
    sharing: Sharing = SHARINGS.target(config.sharing)(
        config.sharing, factory, {name: task.width for name, task in tasks.items()}
    )
    heads: dict[str, Head] = {}
    for name, task in tasks.items():
        torch.manual_seed(seed_of(config.seed, "head", name))
        option = task.option.head
        heads[name] = HEADS.target(option)(option, sharing.spec(name), task.width, f"tasks.{name}.head")
    return MultiTaskModel(sharing, heads, parts_of(config), config.data.statistics == "part")


def _backbone(config: Config, given: InputSpec, fresh: bool) -> Backbone:
    kind = BACKBONES.target(config.backbone)
    backbone: Backbone = (kind.new if fresh else kind)(config.backbone, given)
    if config.backbone.freeze is not None:
        backbone.freeze(config.backbone.freeze)
    return backbone


def given_from(meta: Mapping[str, Any], known: Known) -> InputSpec:
    """What a prepared sample of a checkpoint's data looks like."""
    first = next(iter(known.preparations.values()))
    return InputSpec(tuple(meta["shape"]), first.categories)


def read_off(
    config: Config, divided: Mapping[str, Mapping[str, RawPart]], classes: Mapping[str, tuple[str, ...]], wanted: Wanted
) -> Known:
    """What there is to know of the training data. Raises: ConfigError: a target cannot be learned; tables differ."""
    fitted: dict[str, Fitted] = {}
    preparations: dict[str, Preparation] = {}
    encoding = fit_tables(config, {part: pieces["train"].inputs for part, pieces in divided.items()})
    for part, pieces in divided.items():
        data, source = pieces["train"], config.data.parts[part]
        crop, flip = (source.crop, source.flip) if isinstance(source, ImageSource) else (0, False)
        if isinstance(data.inputs, Frame):
            assert encoding is not None
            preparations[part] = table_preparation(encoding)
        else:
            preparations[part] = _as_wanted(fit_preparation(data.inputs, crop, flip), data.inputs, wanted)
        for name, target in data.targets.items():
            option = config.tasks[name]
            fitted[name] = KINDS.target(option).fit(name, option, target, classes[name])
    return Known(fitted, preparations)


def _as_wanted(fitted: Preparation, inputs: Tensor | Stream, wanted: Wanted) -> Preparation:
    """The preparation with the size and normalisation that the backbone wants of images."""
    shape = inputs.shape if isinstance(inputs, Stream) else inputs.shape[1:]
    if len(shape) != 3 or (wanted.mean is not None and shape[0] not in (1, len(wanted.mean))):
        return fitted  # the backbone will refuse them
    mean, std = (None if scale is None else tuple(255 * x for x in scale) for scale in (wanted.mean, wanted.std))
    return Preparation(mean or fitted.mean, std or fitted.std, fitted.crop, fitted.flip, wanted.size)


def _task(config: Config, name: str, fitted: Fitted) -> Task:
    option = config.tasks[name]
    loss = LOSSES.target(option.loss)(option.loss, fitted.class_weights)
    task: Task = KINDS.target(option)(name, option, fitted, loss)
    return task


def given_of(split: Split, preparations: Mapping[str, Preparation]) -> InputSpec:
    """What a prepared sample of every part looks like. Raises: ConfigError: parts differ in it."""
    found = {
        part: InputSpec(preparations[part].shape(tuple(_shape(data))), preparations[part].categories)
        for part, data in split.items()
    }
    first = next(iter(found))
    for part, given in found.items():
        if given != found[first]:
            raise ConfigError(
                f"data.parts.{part} has samples of shape {given.shape}, but {first} of {found[first].shape}: tasks "
                "that share a backbone need one shape"
            )
    return found[first]


def _shape(data: PartData) -> tuple[int, ...]:
    """Of one raw sample."""
    return data.inputs.shape if isinstance(data.inputs, Stream) else tuple(data.inputs.shape[1:])


def known_from(meta: Mapping[str, Any]) -> Known:
    """What a checkpoint's meta.json keeps of the training data."""
    return Known(
        msgspec.convert(meta["fitted"], dict[str, Fitted]),
        msgspec.convert(meta["preparations"], dict[str, Preparation]),
    )
