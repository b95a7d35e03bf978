"""Checkpoints that a kill at any moment cannot spoil, and whose damage is found.

A checkpoint is a folder; see FILES. It is written under a name that nobody reads, each file and the folder synced,
the manifest with every file's hash last, and then renamed. Pointers are small text files with a folder's name.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtl_cli.options import ConfigError, JobError

FILES = {
    "config.yaml": "the resolved configuration",
    "meta.json": "tasks and preparation as fitted on train, shapes, where training stood",
    "model.safetensors": "weights and buffers",
    "training.pt": "state of optimizer, methods and loop; loads with weights_only=True",
    "manifest.json": "the SHA-256 of each of the others",
}
KEPT = 2
"""The newest checkpoints that stay beside the best one: the older is there should the newer be damaged."""


SCARCE = 1 << 20
"""Fewer free bytes than this are no room for a checkpoint."""


class Contents(NamedTuple):
    """What a checkpoint holds."""

    weights: Mapping[str, Tensor]
    training: dict[str, Any]
    meta: dict[str, Any]
    config: str


class Store:
    """The checkpoints of one run, in its folder `checkpoints`."""

    def __init__(self, run_dir: Path) -> None:
        self.root = run_dir / "checkpoints"

    def save(self, step: int, contents: Contents, best: bool) -> Path:
        """Writes a checkpoint, verifies it, points `last` (and `best`) at it, then prunes old ones.

        Raises: JobError: the disk is full or will not be written; older checkpoints stay as they were.
        """
        final = self.root / self.name(step)
        try:
            self.root.mkdir(exist_ok=True)
            self._clear()
            temporary = self.root / f".tmp-{step}-{os.getpid()}"
            self._write(temporary, contents)
            temporary.rename(final)
            _sync_folder(self.root)
            verify(final)
            self.point("last", final.name)
            if best:
                self.point("best", final.name)
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = self._reason(error)
            self._clear()
            raise JobError(f"{final} could not be saved: {reason}; older checkpoints are whole") from error
        self._prune()
        return final

    def name(self, step: int) -> str:
        """A folder's name for this step that is not taken."""
        name, again = f"step-{step:08d}", 0
        while (self.root / name).exists():
            again += 1
            name = f"step-{step:08d}.{again}"
        return name

    def point(self, pointer: str, name: str) -> None:
        """Makes `pointer` name a checkpoint, in one atomic move."""
        temporary = self.root / f".tmp-{pointer}"
        _write_synced(temporary, name.encode())
        temporary.replace(self.root / pointer)
        _sync_folder(self.root)

    def pointed(self, pointer: str) -> Path | None:
        """The checkpoint that `pointer` names; None where there is none."""
        file = self.root / pointer
        return self.root / file.read_text().strip() if file.is_file() else None

    def newest(self) -> tuple[Path | None, list[str]]:
        """The newest checkpoint that verifies, and a line for each newer one that was passed over."""
        passed: list[str] = []
        for folder in reversed(self._all()):
            try:
                verify(folder)
            except ConfigError as error:
                passed.append(str(error))
            else:
                return folder, passed
        return None, passed

    def _all(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        if not self.root.is_dir():
            return []
        return sorted((p for p in self.root.iterdir() if p.is_dir() and p.name.startswith("step-")), key=_order)

    def _write(self, folder: Path, contents: Contents) -> None:
        folder.mkdir()
        save_file({key: tensor.contiguous() for key, tensor in contents.weights.items()}, folder / "model.safetensors")
        torch.save(contents.training, folder / "training.pt")
        (folder / "meta.json").write_text(json.dumps(contents.meta, indent=1))
        (folder / "config.yaml").write_text(contents.config)
        names = [name for name in FILES if name != "manifest.json"]
        for name in names:
            _sync_file(folder / name)
        manifest = {name: digest(folder / name) for name in names}
        _write_synced(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
        _sync_folder(folder)

    def _prune(self) -> None:
        keep = {folder.name for folder in self._all()[-KEPT:]}
        keep |= {folder.name for folder in (self.pointed("last"), self.pointed("best")) if folder is not None}
        for folder in self._all():
            if folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)

    def _reason(self, error: Exception) -> str:
        """Why a save failed; torch and safetensors do not say when it is for want of space."""
        free = shutil.disk_usage(self.root if self.root.is_dir() else self.root.parent).free
        if free < SCARCE:
            return f"the disk is full, {free:,} bytes are free"
        return (str(error).splitlines() or [type(error).__name__])[0]

    def _clear(self) -> None:
        if self.root.is_dir():
            for left in self.root.glob(".tmp-*"):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def verify(folder: Path) -> None:
    """Raises ConfigError where a file of the checkpoint is missing or not what its manifest says."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError):
        raise ConfigError(f"checkpoint={folder} is damaged: manifest.json is missing or unreadable") from None
    if not isinstance(manifest, dict) or set(manifest) != set(FILES) - {"manifest.json"}:
        raise ConfigError(f"checkpoint={folder} is damaged: manifest.json does not list its files; take another")
    for name, expected in manifest.items():
        try:
            found = digest(folder / name)
        except OSError:
            raise ConfigError(f"checkpoint={folder} is damaged: {name} is missing") from None
        if found != expected:
            raise ConfigError(f"checkpoint={folder} is damaged: {name} is not what manifest.json says; take another")


def load_meta(folder: Path) -> dict[str, Any]:
    """The meta.json of a verified checkpoint."""
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return meta


def decided(meta: Mapping[str, Any]) -> dict[str, str]:
    """What the run had decided by probing; a checkpoint from before there was any probing has nothing of it."""
    return dict(meta.get("decided", {}))


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a verified checkpoint, on the CPU."""
    return load_file(folder / "model.safetensors")


def load_training(folder: Path, device: torch.device) -> dict[str, Any]:
    """The training state of a verified checkpoint."""
    return training(read_training(folder), device)


def read_training(folder: Path) -> bytes:
    """The same as it lies there, for `training`."""
    return (folder / "training.pt").read_bytes()


def training(content: bytes, device: torch.device) -> dict[str, Any]:
    """The training state that was read, with its tensors on that device."""
    state: dict[str, Any] = torch.load(BytesIO(content), map_location=device, weights_only=True)
    return state


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _order(folder: Path) -> tuple[int, int]:
    step, _, again = folder.name.removeprefix("step-").partition(".")
    return int(step), int(again or 0)


def _write_synced(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    _sync_file(file)


def _sync_file(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
