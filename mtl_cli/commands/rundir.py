"""A run's directory: where it is, and what is written into it before the first step."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
import torch
from omegaconf import OmegaConf

from mtl_cli.commands.build import Data
from mtl_cli.config import Config
from mtl_cli.options import ConfigError
from mtl_cli.reporting.atomic import write_atomic
from mtl_cli.reporting.environment import environment, write_environment
from mtl_cli.reporting.wording import quoted
from mtl_cli.session import Session


def choose(config: Config, session: Session) -> Path:
    """Where the run goes: a resumed one where it was. Makes nothing.

    Raises: ConfigError: run_dir is taken.
    """
    if config.resume is not None:
        return Path(config.resume).expanduser()
    if session.job_dir is not None:
        return session.job_dir
    if config.run_dir is not None:
        chosen = Path(config.run_dir).expanduser()
        if chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir())):
            raise ConfigError(f"run_dir={chosen} is taken: choose another, or go on with it: mtl train resume={chosen}")
        return chosen
    now = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S-%f")
    name = now if config.name is None else f"{now}-{config.name}"
    return Path(config.runs_dir).expanduser() / config.task.replace("/", "-") / name


def furnish(run_dir: Path, config: Config, session: Session, data: Data, device: torch.device, processes: int) -> None:
    """Writes config.yaml, env.json and Hydra's record; a resumed run's records are added to."""
    write_atomic(run_dir / "config.yaml", resolved(config))
    _record(run_dir, config, session)
    facts = environment(
        device=describe(device, processes),
        threads=torch.get_num_threads(),
        seeds={"seed": config.seed, "data.seed": config.data.seed},
        data=data.digests,
        command=["mtl", session.command, *session.overrides],
        folder=Path.cwd(),
    )
    write_environment(run_dir, facts)


@contextmanager
def alone(run_dir: Path) -> Iterator[None]:
    """Makes the run's directory and holds it: two processes in one would spoil each other's checkpoints.

    The hold ends with the process, however it ends.

    Raises: ConfigError: it cannot be made, or another process trains in it.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = (run_dir / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"run_dir={run_dir} cannot be made: {error.strerror}; choose another with runs_dir="
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip()
            raise ConfigError(f"{run_dir} is held by process {pid}, which trains in it: wait, or stop it") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def told(run_dir: Path, session: Session) -> tuple[str, ...]:
    """What was typed to begin the run, with what its resumes changed."""
    begun = json.loads((run_dir / "env.json").read_text(encoding="utf-8"))["command"][2:]
    later = [word for word in session.overrides if word.partition("=")[0] != "resume" and word not in begun]
    changed = {word.partition("=")[0] for word in later}
    return tuple([word for word in begun if word.partition("=")[0] not in changed] + later)


def resolved(config: Config) -> str:
    """The whole configuration as YAML, without what holds for this call only."""
    lasting = msgspec.structs.replace(config, resume=None, run_dir=None)
    return OmegaConf.to_yaml(OmegaConf.create(msgspec.to_builtins(lasting)))


def resume_command(run_dir: Path) -> str:
    """What goes on with the run."""
    return f"mtl train resume={quoted(run_dir)}"


def describe(device: torch.device, processes: int) -> str:
    """The device in words, and how many processes have one each."""
    several = f", {processes} processes" if processes > 1 else ""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}{several}"
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}{' each' if several else ''}{several}"


def _record(run_dir: Path, config: Config, session: Session) -> None:
    if session.hydra is None:
        return
    folder = run_dir / ".hydra"
    if config.resume is not None:
        folder = folder / datetime.now().astimezone().strftime("resume-%Y%m%d-%H%M%S-%f")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in session.hydra.items():
        (folder / name).write_text(text, encoding="utf-8")
