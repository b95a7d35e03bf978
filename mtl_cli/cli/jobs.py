"""One job: a composed configuration is typed and checked, and only then is the command's code imported."""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mtl_cli import asked, saved, schema
from mtl_cli.cli import folders, plugins
from mtl_cli.cli.arguments import VALUED, Arguments, typed
from mtl_cli.commands import ls
from mtl_cli.config import ASKED, CHOICES, Config
from mtl_cli.options import ConfigError, convert
from mtl_cli.session import Session

COMPUTING = {"train": "mtl_cli.commands.train", "data": "mtl_cli.commands.data"}
"""Commands that start from the packaged options: whose `run` answers."""


class Call(NamedTuple):
    """What the user asked for.

    typed: the overrides as the user wrote them; `arguments` may say less, or paths in full.
    saved: the configuration of the run or checkpoint that it starts from.
    only_check: it ends when the configuration is known to be right.
    """

    command: str
    primary: str
    arguments: Arguments
    typed: list[str]
    saved: dict[str, Any] | None = None
    only_check: bool = False


def run(call: Call, cfg: DictConfig) -> None:
    """Does what the call asks for, with one composed configuration."""
    raw = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(raw, dict)
    named = {str(key): value for key, value in raw.items()}
    if call.command == "ls":
        plugins.load(named.pop("plugins"), call.arguments)
        ls.run(convert(named, ls.LsOptions, ""), folders.searched())
    elif call.command in ASKED:
        _of_checkpoint(cfg, named, call)
    else:
        _train(cfg, named, call)


def _train(cfg: DictConfig, raw: dict[str, Any], call: Call) -> None:
    config = _checked(raw, call)
    if call.saved is not None:
        before = {**call.saved, "device": call.saved.get("device", raw.get("device"))}
        saved.agree(schema.check(before, folders.searched()), config)
    elif config.resume is not None:
        raise ConfigError(f"resume={config.resume} in a YAML has no effect: mtl train resume={config.resume}")
    elif config.init_from is not None:
        saved.locate(config.init_from, "init_from")
    if call.only_check:
        return
    session = _session(cfg, call)
    command = import_module(COMPUTING[call.command])  # not at the top: it imports torch
    command.run(config, session)


def _of_checkpoint(cfg: DictConfig, raw: dict[str, Any], call: Call) -> None:
    told = {key: raw.pop(key, None) for key in asked.KEYS[call.command]}
    checkpoint = Path(raw.pop("checkpoint"))
    config = _checked(raw, call)
    options = asked.of_checkpoint(call.command, told, config, folders.searched())
    if call.only_check:
        return
    session = _session(cfg, call)
    command = import_module(asked.MODULES[call.command])  # not at the top: it imports torch
    command.run(config, options, checkpoint, session)


def _checked(raw: dict[str, Any], call: Call) -> Config:
    for told in call.arguments.overrides:
        if told.key in (*CHOICES, "task", "trainer") and str(told.value).startswith("["):
            raise ConfigError(
                f"{told} names several: choose one, or sweep over them: -m {told.key}={str(told.value)[1:-1]}"
            )
    plugins.load(raw.get("plugins"), call.arguments)
    return schema.check(raw, folders.searched())


def _session(cfg: DictConfig, call: Call) -> Session:
    hydra = HydraConfig.get()
    record = {
        "config.yaml": OmegaConf.to_yaml(cfg),
        "hydra.yaml": OmegaConf.to_yaml(hydra),
        "overrides.yaml": OmegaConf.to_yaml(hydra.overrides.task),
    }
    options = [f"{name}={value}" for name, value in call.arguments.options.items() if name in VALUED]
    if hydra.mode != RunMode.MULTIRUN:
        return Session(call.command, call.typed, record, None, [*options, *call.typed])
    folder, told = Path(hydra.runtime.output_dir), told_to_job()
    return Session(call.command, told, record, folder, [*options, *told, f"run_dir={folder}"])


def told_to_job() -> list[str]:
    """The overrides of the job that runs now, as the user would type them."""
    return [typed(str(line)) for line in HydraConfig.get().overrides.task]
