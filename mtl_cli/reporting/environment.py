"""env.json: what a run's numbers depend on beside its configuration."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mtl_cli import __version__
from mtl_cli.reporting.atomic import write_atomic

PACKAGES = ("torch", "torchvision", "torchmetrics", "hydra-core", "omegaconf", "numpy", "scikit-learn", "safetensors")


def environment(
    *, device: str, threads: int, seeds: dict[str, int], data: dict[str, str], command: list[str], folder: Path
) -> dict[str, Any]:
    """Versions, revision and machine, together with what the caller knows.

    Args:
        seeds: such as {"seed": 0, "data.seed": 0}.
        data: part -> digest of its content.
        command: the words of the command line.
        folder: whose git revision counts.
    """
    return {
        "command": command,
        "versions": {"mtl": __version__, "python": platform.python_version(), **_versions()},
        "platform": platform.platform(),
        "git": revision(folder),
        "device": device,
        "threads": threads,
        "seeds": seeds,
        "data": data,
    }


def write_environment(run_dir: Path, facts: dict[str, Any]) -> None:
    """Writes env.json; where a run goes on, adds to its list of resumes instead."""
    path = run_dir / "env.json"
    first = _read(path)
    if first is not None:
        facts = {**first, "resumes": [*first.get("resumes", []), facts]}
    write_atomic(path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    """What is there; a file that is not whole counts as none, as nothing that a run does depends on it."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def revision(folder: Path) -> str | None:
    """The git revision of a folder, with -dirty where tracked files differ; None outside of git or without it."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(describe, cwd=folder, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
