"""Decoded data, kept on disk under a key of its content, so that a second start decodes nothing."""

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mtl_cli.data.base import Column, Loaded, Samples

FORMAT = "1"
PIECE = 1 << 20
ABANDONED = 3600
"""Seconds after which a temporary file was left by a process that was killed."""
LOG = logging.getLogger(__name__)


def cache_folder(cache_dir: str | None) -> Path:
    """The configured folder, or where none is: $XDG_CACHE_HOME/mtl, else ~/.cache/mtl."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "mtl"


def file_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of the content of files, with their names and sizes between them."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name}/{path.stat().st_size}/".encode())
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                total.update(piece)
    return total.hexdigest()


def content_digest(train: Samples, test: Samples) -> str:
    """SHA-256 of decoded data: names, classes, types, shapes and values; the same wherever they came from."""
    total = hashlib.sha256()
    for name, tensor in _tensors(train, test).items():
        total.update(f"{name}/{tensor.dtype}/{list(tensor.shape)}/".encode())
        total.update(_bytes(tensor))
    total.update(json.dumps(_classes(train)).encode())
    return total.hexdigest()


def cached(folder: Path, source: str, words: tuple[str, ...], build: Callable[[], tuple[Samples, Samples]]) -> Loaded:
    """What `build` gives, from the file that was left in `folder` where it was built before.

    Args:
        folder: made where it is missing; where it cannot be written, nothing is kept and a warning says so.
        source: begins the file's name.
        words: everything that decides the result: the digest of the content, and options that change its decoding.
        build: decodes train and test.
    Note: a file that is damaged, by a checksum over all values, is built again.
    """
    key = hashlib.sha256("\n".join((FORMAT, source, *words)).encode()).hexdigest()
    path = folder / f"{source}-{key[:32]}.safetensors"
    found = _read(path)
    if found is not None:
        return found
    LOG.info("decoding %s, once, into %s", source, folder)
    train, test = build()
    loaded = Loaded(train, test, content_digest(train, test))
    _write(path, loaded)
    return loaded


def _read(path: Path) -> Loaded | None:
    """The data in a cache file; None where there is none, or a damaged one."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
        if facts["checksum"] != _checksum(tensors, facts):
            raise ValueError("its checksum differs")
        classes = json.loads(facts["classes"])
        return Loaded(_samples(tensors, "train", classes), _samples(tensors, "test", classes), facts["digest"])
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError, KeyError, EOFError, RuntimeError) as error:
        LOG.warning("the cache file %s is damaged (%s): it is built again", path, error)
        return None


def _write(path: Path, loaded: Loaded) -> None:
    """Leaves a whole file at `path`, or none: a temporary beside it, synced, then renamed."""
    tensors = _tensors(loaded.train, loaded.test)
    facts = {"classes": json.dumps(_classes(loaded.train)), "digest": loaded.digest}
    facts["checksum"] = _checksum(tensors, facts)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
        save_file(tensors, temporary, metadata=facts)
        _sync(temporary, os.O_RDWR)
        temporary.replace(path)
        _sync(path.parent, os.O_RDONLY)
    except (OSError, SafetensorError) as error:
        LOG.warning("decoded data is not kept for the next start: %s cannot be written (%s)", path.parent, error)
    finally:
        _remove(temporary)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    """Removes what a failed write left. A folder that cannot be written holds nothing to remove."""
    try:
        temporary.unlink(missing_ok=True)
    except OSError as error:
        LOG.debug("%s is left: %s", temporary, error)


def _tensors(train: Samples, test: Samples) -> dict[str, Tensor]:
    tensors = {}
    for part, samples in (("train", train), ("test", test)):
        assert isinstance(samples.inputs, Tensor)
        tensors[f"{part}/inputs"] = samples.inputs.contiguous()
        for name, column in samples.columns.items():
            tensors[f"{part}/column/{name}"] = column.values.contiguous()
    return tensors


def _classes(samples: Samples) -> dict[str, tuple[str, ...] | None]:
    return {name: column.classes for name, column in samples.columns.items()}


def _samples(tensors: dict[str, Tensor], part: str, classes: dict[str, list[str] | None]) -> Samples:
    columns = {
        name: Column(tensors[f"{part}/column/{name}"], None if names is None else tuple(names))
        for name, names in classes.items()
    }
    return Samples(tensors[f"{part}/inputs"], columns)


def _checksum(tensors: dict[str, Tensor], facts: dict[str, str]) -> str:
    """CRC-32, which finds damage at 3 GB/s where SHA-256 would take half a second for CIFAR-10."""
    total = zlib.crc32(f"{facts['classes']}/{facts['digest']}".encode())
    for name in sorted(tensors):
        total = zlib.crc32(_bytes(tensors[name]), zlib.crc32(name.encode(), total))
    return f"{total:08x}"


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data
