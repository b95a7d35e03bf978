"""What a command starts from: the packaged options, or the configuration saved in a run or a checkpoint."""

import os
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from mtl_cli import saved
from mtl_cli.beneath import CONF
from mtl_cli.cli import entries, folders, plugins
from mtl_cli.cli.arguments import INSTEAD, SHORT, VALUED, Arguments, Override
from mtl_cli.cli.jobs import Call
from mtl_cli.cli.sweep import Traces
from mtl_cli.config import ASKED, CHOICES
from mtl_cli.options import ConfigError, text

PLACES = ("runs_dir", "cache_dir", "data_dir")
GROUPS = (*CHOICES, "task", "trainer", "regularizer", "experiment")
SHOWN = ("--help", "--hydra-help")
SHOWING = ("--cfg", "--package", "--resolve")


def worded(command: str, words: list[str]) -> list[str]:
    """`mtl ls sharing` is short for `mtl ls group=sharing`."""
    if command != "ls":
        return words
    short = [name for name, full in SHORT.items() if full in (*VALUED, "--info")]
    takes = (*VALUED, "--info", *short)
    named = [i for i, word in enumerate(words) if word.isidentifier() and (words[i - 1] if i else "") not in takes]
    if len(named) > 1:
        raise ConfigError(f"{' '.join(words[i] for i in named)} are several: mtl ls shows one group at a time")
    return [f"group={word}" if i in named else word for i, word in enumerate(words)]


def call(command: str, arguments: Arguments) -> Call:
    """The call behind a command line; makes the saved configuration known to Hydra. Raises: ConfigError."""
    folders.added(arguments.options.get("--config-dir"))
    _one_place_each(command, arguments)
    resume = arguments.last("resume")
    if command in ASKED:
        return _of_checkpoint(command, arguments)
    if command == "train" and resume is not None and resume.plain is not None:
        return _resumption(resume.plain, arguments)
    if command == "data" and resume is not None and resume.plain is not None:
        raise ConfigError(f"{resume} has no effect here: mtl data looks at a task set, task=NAME")
    return Call(command, command, arguments, arguments.typed)


def argv(call: Call, traces: Traces) -> list[str]:
    """The command line for Hydra."""
    return [*entries.spelled_out(call).argv(), *traces.argv(call.command, call.arguments)]


def to_check(call: Call) -> Call:
    """The same without what only shows it."""
    options = {name: value for name, value in call.arguments.options.items() if name not in SHOWING}
    return call._replace(arguments=Arguments(options, call.arguments.overrides), only_check=True)


def _one_place_each(command: str, arguments: Arguments) -> None:
    if arguments.sweep and command in ("ls", "predict", "data"):
        raise ConfigError(f"--multirun has nothing to sweep in {command}: leave it out")
    launcher = arguments.last("hydra/launcher")
    if launcher is not None and not set(INSTEAD) & set(arguments.options):
        raise ConfigError(f"{launcher} has no effect on a single run: add -m")
    if not arguments.sweep:
        return
    if "RANK" in os.environ:
        raise ConfigError(f"--multirun does not go with torchrun: mtl {command} -m trainer.processes=N")
    for key, way_out in (
        ("run_dir", "each job has a folder of its own below runs_dir="),
        ("resume", "resume one run after the other"),
    ):
        told = arguments.last(key)
        if told is not None:
            raise ConfigError(f"{told} does not go with --multirun: {way_out}")
    told = arguments.last("checkpoint")
    if told is not None and "," in str(told.plain) and not Path(str(told.plain)).exists():
        raise ConfigError(f"{told} names several: name one checkpoint at a time")


def _of_checkpoint(command: str, arguments: Arguments) -> Call:
    told = arguments.last("checkpoint")
    if told is None or told.plain is None:
        if not set(SHOWN) & set(arguments.options):
            way_out = f"mtl {command} checkpoint=RUN (a run's directory, or a checkpoint)"
            raise ConfigError(f"checkpoint=??? is missing: {way_out}")
        _store({})
        return Call(command, command, arguments, arguments.typed)
    checkpoint = saved.locate(told.plain)
    raw = _anew(saved.load(checkpoint), told, arguments, run_dir=None, init_from=None)
    raw.pop("device", None)
    _store(raw)
    return Call(command, command, _replaced(arguments, "checkpoint", checkpoint), arguments.typed, raw)


def _resumption(value: str, arguments: Arguments) -> Call:
    run_dir = saved.locate_run(value)
    told = arguments.last("run_dir")
    if told is not None and Path(str(told.plain)).resolve() != run_dir.resolve():
        raise ConfigError(f"{told} cannot change: a resumed run goes on in {run_dir}: leave it out")
    raw = _anew(saved.load(run_dir), Override("", "resume", value), arguments, run_dir=str(run_dir))
    kept = [override for override in arguments.overrides if not _same_choice(override, raw)]
    if any(override.key == "device" for override in kept):
        raw.pop("device", None)
    _store(raw)
    reduced = Arguments(arguments.options, [override for override in kept if override.key != "run_dir"])
    return Call("train", "resume", _replaced(reduced, "resume", run_dir), arguments.typed, raw)


def _anew(raw: dict[str, Any], told: Override, arguments: Arguments, **changes: Any) -> dict[str, Any]:
    plugins.missing(saved.packages(raw), arguments, str(told))
    train = OmegaConf.to_container(OmegaConf.load(CONF / "train.yaml"), resolve=False)
    assert isinstance(train, dict)
    return saved.anew(raw, {key: train[key] for key in PLACES}, **changes)


def _same_choice(override: Override, raw: dict[str, Any]) -> bool:
    """Whether `override` chooses once more what the saved run has. Raises: ConfigError: it chooses something else."""
    if override.key not in GROUPS or override.key == "device":
        return False
    has = raw.get(override.key)
    name = has.get("name", "default") if isinstance(has, dict) else has
    if override.key == "regularizer":
        name = f"[{','.join(has)}]" if isinstance(has, dict) else ""
        if str(override.value).strip("[]") == name.strip("[]"):
            return True
    if override.plain == name or override.key == "experiment":
        return True
    raise ConfigError(saved.changed(override.key, name, text(override.plain)))


def _replaced(arguments: Arguments, key: str, path: Path) -> Arguments:
    others = [override for override in arguments.overrides if override.key != key]
    quoted = "'" + str(path).replace("'", r"\'") + "'"
    return Arguments(arguments.options, [*others, Override("", key, quoted)])


def _store(node: dict[str, Any]) -> None:
    ConfigStore.instance().store(name="_saved", node=node, provider="mtl")
