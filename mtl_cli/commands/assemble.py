"""All that a run consists of, put together before it has a directory: what is wrong is said with nothing written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.commands import compatible
from mtl_cli.commands.build import Data, build_data, build_model, known_from
from mtl_cli.config import Config
from mtl_cli.contracts import LossFacts
from mtl_cli.data.base import Split, Stream
from mtl_cli.data.loader import UNIFORM, EvalLoader, TrainLoader, resident
from mtl_cli.model import MultiTaskModel
from mtl_cli.options import ConfigError, Option, tag
from mtl_cli.processes import Processes
from mtl_cli.regularizers.base import Regularizer
from mtl_cli.regularizers.options import REGULARIZERS
from mtl_cli.saved import locate
from mtl_cli.tasks.options import LOSSES
from mtl_cli.training import checkpoint
from mtl_cli.training.average import Average
from mtl_cli.training.device import place, repeatable, settled_format, settled_precision
from mtl_cli.training.engine import Engine, Settings
from mtl_cli.training.fit import Loaders
from mtl_cli.training.graph import Usage, traceless, usage
from mtl_cli.training.methods import Methods
from mtl_cli.training.optimizer import build_optimizer
from mtl_cli.training.options import DEVICES, OPTIMIZERS
from mtl_cli.training.passes import autocast
from mtl_cli.weighting import base as weighting_base

HALF: dict[Literal["fp32", "bf16", "fp16"], torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


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
    average: Average
    loaders: Loaders
    device: torch.device
    notes: list[str]


def assemble(config: Config, resumed: Resumed | None, processes: Processes) -> Built:
    """Reads the data and builds model, methods and engine, alike in all processes.

    Raises: ConfigError: something does not fit.
    """
    weighting = weighting_base.make(config.weighting, _losses(config))
    aggregation = aggregation_base.make(config.aggregation, list(config.tasks))
    compatible.check(config, weighting, aggregation)
    device = _device(config)
    methods = Methods(weighting.placed(device), aggregation, _regularizers(config))
    heldout = any(needs.heldout for needs in methods.needs)
    known = None if resumed is None else known_from(resumed.meta)
    data = processes.in_turn(lambda: build_data(config, heldout, known))
    _same_data(config, data, resumed)
    _same_everywhere(config, data, processes)
    model = build_model(config, data.tasks, data.given, fresh=resumed is None)
    _no_recomputing(model, processes, config.trainer.accumulate)
    place(model, device, settled_format(config.trainer, {}))
    notes = [*_in_files(data), *_frozen(config, model), *_start_from(config, model)]
    notes += compatible.approximations(config)
    notes += compatible.one_part_a_step(config, (weighting, aggregation))
    for task in data.tasks.values():
        task.loss.to(device)
    loaders = _loaders(config, data, device, _least(config, methods, processes))
    examples = _examples(data, device)
    used = usage(model, examples)
    average = Average(model, config.trainer.ema)
    precision = settled_precision(config.trainer, device)
    if config.trainer.compile is True:
        _compile(model, examples, config.trainer.batch_size, HALF[precision])
    optimizer = build_optimizer(
        config.optimizer, OPTIMIZERS.target(config.optimizer), model, [*model.sharing.groups(), *weighting.groups()]
    )
    notes += [f"precision: {precision} (auto) on {device.type}"] if config.trainer.precision == "auto" else []
    settings = Settings(
        config.seed,
        config.trainer.clip_norm,
        HALF[precision],
        config.trainer.on_nonfinite,
        config.trainer.sync_batchnorm,
        read_later=waits(device),
    )
    engine = Engine(model, data.tasks, methods, optimizer, used, settings)
    _balances(config, used, methods)
    notes += _idle(methods, used)
    return Built(data, model, used, engine, average, loaders, device, notes)


def waits(device: torch.device) -> bool:
    """Whether the host would wait for the device to say what is not finite."""
    return device.type != "cpu"


def wants_heldout(config: Config) -> bool:
    """Whether a method of the configuration looks at data that is not trained on."""
    weighting = weighting_base.make(config.weighting, _losses(config))
    aggregation = aggregation_base.make(config.aggregation, list(config.tasks))
    return weighting.needs.heldout or aggregation.needs.heldout


def _regularizers(config: Config) -> dict[str, Regularizer]:
    return {name: REGULARIZERS.target(option)(option) for name, option in config.regularizer.items()}


def _balances(config: Config, used: Usage, methods: Methods) -> None:
    """Refuses a method on shared gradients where the model turns out to share nothing, its trunk frozen say."""
    if used.shared or len(config.tasks) == 1:
        return
    for group, needs, option in zip(
        ("weighting", "aggregation"), methods.needs, (config.weighting, config.aggregation), strict=True
    ):
        if needs.level != "losses":
            plain = {"aggregation": "sum", "weighting": "fixed"}[group]
            raise ConfigError(
                f"{group}={tag(option)} looks at gradients of shared parameters, and no parameter that trains is "
                f"reached by two tasks: take {group}={plain}, or train more of the backbone"
            )


def _losses(config: Config) -> dict[str, LossFacts]:
    """What the weighting knows of each task's loss."""
    return {name: LossFacts(task.weight, LOSSES.target(task.loss).gaussian) for name, task in config.tasks.items()}


def _device(config: Config) -> torch.device:
    """Where to compute, and how repeatably."""
    device: torch.device = DEVICES.target(config.device)(config.device)
    if config.trainer.precision == "fp16" and device.type != "cuda":
        raise ConfigError(f"trainer.precision=fp16 needs device=cuda. Found {device.type}: take trainer.precision=bf16")
    repeatable(config.trainer.deterministic)
    return device


def _compile(
    model: MultiTaskModel, examples: Mapping[str, torch.Tensor], batch_size: int, half: torch.dtype | None
) -> None:
    """Compiles, and tries it on a batch like the run's: what the machine lacks is said before a run is begun.

    Steps then find it compiled: for that the batch must lie in memory as theirs, and be seen in their precision.
    """
    model.compile_training()
    try:
        with traceless(model), autocast(next(model.parameters()).device, half):
            model.train()
            for part, inputs in examples.items():
                tasks = [task for task, its in model.part_of.items() if its == part]
                model(inputs.new_zeros(batch_size, *inputs.shape[1:]), tasks, part)
    except (RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"trainer.compile=true does not work here ({reason}): set trainer.compile=false") from None


def _loaders(config: Config, data: Data, device: torch.device, least: int) -> Loaders:
    preparations = data.known.preparations
    train = _train_loader(config, data.splits["train"], data, device, least, config.data.sampling)
    heldout = data.splits["heldout"]
    aside = _train_loader(config, heldout, data, device, least, UNIFORM) if heldout else None
    size = config.trainer.eval_batch_size
    val, test = (EvalLoader(resident(data.splits[s], device), preparations, size, device) for s in ("val", "test"))
    return Loaders(train, aside, val, test)


def _train_loader(
    config: Config, split: Split, data: Data, device: torch.device, least: int, sampling: Option
) -> TrainLoader:
    for part, found in split.items():
        if len(found.inputs) == 0:
            raise ConfigError(
                f"data.parts.{part} leaves no sample to train on: lower data.validation and data.held_out, or raise "
                "data.limit"
            )
    return TrainLoader(split, data.known.preparations, config.trainer.batch_size, config.seed, device, least, sampling)


def _least(config: Config, methods: Methods, processes: Processes) -> int:
    """Rows that a batch must have: two for batch norm, in each independent part, and where each has its own in each."""
    pieces = max(needs.batches for needs in methods.needs)
    least = 2 * pieces * (1 if config.trainer.sync_batchnorm else processes.size)
    if config.trainer.batch_size < max(least, processes.size) and processes.size > 1:
        raise ConfigError(
            f"trainer.batch_size={config.trainer.batch_size} is of all {processes.size} processes, which need "
            f"{max(least, processes.size)}: raise it, or start fewer"
        )
    return least


def _no_recomputing(model: MultiTaskModel, processes: Processes, accumulate: int) -> None:
    """A stage that is computed again draws for the pass that came last; alone, it gets its own draws back."""
    passes = len(set(model.part_of.values())) * accumulate
    if processes.size == 1 or passes == 1:
        return
    from mtl_cli.backbones.pieces import Stage  # not at the top: it brings torchvision, a second

    if any(isinstance(m, Stage) and m.recompute for m in model.modules()):
        raise ConfigError(
            f"backbone.gradient_checkpointing=true does not go with {passes} passes a step in {processes.size} "
            "processes: leave it out"
        )


def _examples(data: Data, device: torch.device) -> dict[str, torch.Tensor]:
    return {part: torch.zeros(2, *data.given.shape, device=device) for part in data.splits["train"]}


def _same_data(config: Config, data: Data, resumed: Resumed | None) -> None:
    if resumed is None:
        return
    for part, digest in data.digests.items():
        if resumed.meta["data"][part] != digest:
            raise ConfigError(
                f"data_dir={config.data_dir} holds other data for {part} than the run was trained on: put it back, or "
                "start a new run with init_from="
            )


def _same_everywhere(config: Config, data: Data, processes: Processes) -> None:
    first = processes.told(lambda: data.digests)
    for part, digest in data.digests.items():
        if first[part] != digest:
            raise ConfigError(f"data_dir={config.data_dir} holds other data for {part} than the first process reads")


def _in_files(data: Data) -> list[str]:
    """The parts whose images do not lie in memory: what was told before the run had a log is told in it."""
    return [
        f"data.parts.{part}: images stay in files (data.workers={found.inputs.workers})"
        for part, found in data.splits["train"].items()
        if isinstance(found.inputs, Stream)
    ]


def _frozen(config: Config, model: MultiTaskModel) -> list[str]:
    if config.backbone.freeze is None:
        return []
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    every = sum(p.numel() for p in model.parameters())
    return [f"backbone.freeze={config.backbone.freeze}: {frozen:,} of {every:,} parameters do not train"]


def _idle(methods: Methods, used: Usage) -> list[str]:
    """The regularizers that hold no parameter at all."""
    return [
        f"regularizer.{name}.parameters=shared holds nothing, as nothing is shared: take task or all"
        for name, regularizer in methods.regularizers.items()
        if regularizer.option.parameters == "shared" and not used.shared
    ]


def _start_from(config: Config, model: MultiTaskModel) -> list[str]:
    """Takes over the weights of `init_from` that fit by name and shape."""
    if config.init_from is None or config.resume is not None:
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
