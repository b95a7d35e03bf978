"""The configuration that a run or a checkpoint was made with, for `mtl eval` and `mtl train resume=`.

A saved configuration is data and nothing else: it cannot reach into Hydra, read the environment or name code to
import. Imports no torch.

    RUN/config.yaml
    RUN/checkpoints/last, best          text files: the name of a folder beside them
    RUN/checkpoints/step-000123/        config.yaml, manifest.json, ...; can be copied away and used alone
"""

import difflib
import os
from pathlib import Path
from typing import Any

import msgspec

from mtl_cli.beneath import section
from mtl_cli.config import Config
from mtl_cli.options import ConfigError, shown, text

MAY_DIFFER = (
    "trainer.epochs", "trainer.max_steps", "trainer.patience", "trainer.save_every", "trainer.log_every",
    "trainer.processes", "trainer.eval_batch_size", "trainer.memory_format", "trainer.compile", "trainer.deterministic",
    "trainer.profile",
    "scheduler.total_epochs",
    "data.memory", "data.workers",
    "device", "data_dir", "cache_dir", "runs_dir", "resume", "run_dir", "plugins", "plots", "tensorboard",
)  # fmt: skip
"""What a resumed run may be told anew; every other key decides its numbers."""
ADDED: dict[tuple[str, str | None], dict[str, Any]] = {
    ("sharing", "hard"): {"split_at": None},
    ("trainer", None): {"profile": False, "processes": None, "sync_batchnorm": True},
}
"""Keys of a group's choice, or of a section (None), that came after runs had been saved, with what was done before."""


def locate(value: str, key: str = "checkpoint") -> Path:
    """The checkpoint folder that `key=value` means: of a run its best, else its last; a pointer; or a folder itself.

    Raises: ConfigError: nothing is there, or it is no run and no checkpoint.
    """
    path = _there(value, key)
    if path.is_file():
        return _pointed(path, key)
    if (path / "manifest.json").is_file():
        return path
    home = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    for pointer in (home / "best", home / "last"):
        if pointer.is_file():
            return _pointed(pointer, key)
    raise ConfigError(f"{key}={value} holds no checkpoint: name a run's directory, or a folder in its checkpoints/")


def locate_run(value: str, key: str = "resume") -> Path:
    """The run directory that `key=value` means. Raises: ConfigError: it is none, or has no checkpoint yet."""
    path = _there(value, key)
    if path.name in ("last", "best") and path.parent.name == "checkpoints":
        path = path.parent.parent
    if (path / "manifest.json").is_file():
        raise ConfigError(f"{key}={value} is a checkpoint: name its run, or start a new one with init_from={value}")
    if not (path / "config.yaml").is_file():
        raise ConfigError(f"{key}={value} is not a run: there is no config.yaml in it")
    if not any(path.glob("checkpoints/*/manifest.json")):
        raise ConfigError(f"{key}={value} has no checkpoint yet: start it again")
    return path


def load(folder: Path) -> dict[str, Any]:
    """The configuration saved in `folder`, without what it has no say in. Raises: ConfigError."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise ConfigError(f"{file} is missing: the checkpoint is not whole")
    raw = section(file, resolve=False)
    for foreign in ("hydra", "defaults"):
        raw.pop(foreign, None)
    _refuse_interpolation(raw, "", file)
    return grown(raw)


def grown(raw: dict[str, Any]) -> dict[str, Any]:
    """A saved configuration with the keys that have come since, as all was done when it was saved."""
    found = dict(raw)
    for (group, name), before in ADDED.items():
        chosen = raw.get(group)
        if isinstance(chosen, dict) and chosen.get("name") == name:
            found[group] = {**chosen, **before, **chosen}
    return found


def packages(raw: dict[str, Any]) -> list[str]:
    """The plugins that the saved run had."""
    found = raw.get("plugins")
    return [str(name) for name in found] if isinstance(found, list) else []


def anew(raw: dict[str, Any], places: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`raw` as it goes under a new command: `places` (runs_dir, cache_dir, data_dir) are asked of this machine again.

    The data's folder stays where it was if it is there and MTL_DATA does not say otherwise.
    """
    kept = raw.get("data_dir")
    here = isinstance(kept, str) and "MTL_DATA" not in os.environ and Path(kept).expanduser().is_dir()
    data_dir = kept if here else places["data_dir"]
    return {**raw, **places, "data_dir": data_dir, "plugins": [], "resume": None, **changes}


def agree(saved: Config, new: Config) -> None:
    """A resumed run is the same run. Raises: ConfigError: a key that decides its numbers has changed."""
    before, after = _flat(msgspec.to_builtins(saved)), _flat(msgspec.to_builtins(new))
    for key in (*before, *(key for key in after if key not in before)):
        if before.get(key) != after.get(key) and not may_differ(key):
            raise ConfigError(changed(key, before.get(key), after.get(key)))


def may_differ(key: str) -> bool:
    """Whether a resumed run may be told this key anew."""
    return key in MAY_DIFFER or key.startswith("device.")


def changed(key: str, before: Any, after: Any) -> str:
    """The line for a key that a resumed run may not change."""
    out = "leave it out, or start a new run (with init_from= to keep the weights)"
    return f"{shown(key, after)} cannot change in a resumed run, which has {text(before)}: {out}"


def _there(value: str, key: str) -> Path:
    path = Path(value).expanduser()
    if path.exists():
        return path
    near = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, near, n=1)
    kinds = "a run's directory" if key == "resume" else "a run's directory, or a checkpoint folder"
    way_out = f"did you mean {path.parent / close[0]}?" if close else f"name {kinds}"
    raise ConfigError(f"{key}={value} is not there: {way_out}")


def _pointed(pointer: Path, key: str) -> Path:
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        name = ""
    folder = pointer.parent / name
    if not name or Path(name).name != name or not (folder / "manifest.json").is_file():
        raise ConfigError(f"{key}={pointer} does not lead to a checkpoint: name one of the folders beside it")
    return folder


def _refuse_interpolation(value: Any, key: str, file: Path) -> None:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in entries:
        _refuse_interpolation(inner, f"{key}.{name}" if key else str(name), file)
    if isinstance(value, str) and "${" in value:
        raise ConfigError(f"{key}={text(value)} in {file} is refused: a saved configuration holds plain values")


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {key: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{key}.{name}" if key else str(name))
    return flat
