"""Weights alone and the metadata beside them, to a model again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from mtl_cli.commands.build import build_model, build_tasks, given_from, known_from
from mtl_cli.commands.restore import Restored
from mtl_cli.config import Config
from mtl_cli.options import Option
from mtl_cli.saved import grown
from mtl_cli.schema import check
from mtl_cli.shipping.base import Recipe
from mtl_cli.shipping.needed import needed
from mtl_cli.shipping.options import Safetensors
from mtl_cli.shipping.safetensors import SafetensorsFormat
from mtl_cli.shipping.shipped import Shipped

PLACES = ("path", "test_path", "labels")
"""What sources call the files and folders that they name."""


def recipe(config: Config, restored: Restored) -> Recipe:
    """How the restored model is built again; folders of this machine are left out of it."""
    places: dict[str, Any] = {
        "runs_dir": "runs",
        "data_dir": "data",
        "cache_dir": None,
        "run_dir": None,
        "init_from": None,
    }
    parts = {name: _without_folder(source) for name, source in config.data.parts.items()}
    places["data"] = msgspec.structs.replace(config.data, parts=parts)
    kept = {name: restored.meta[name] for name in ("shape", "fitted", "preparations")}
    text = {
        "config": json.dumps(msgspec.to_builtins(msgspec.structs.replace(config, **places))),
        "meta": json.dumps(kept),
        "decided": json.dumps({name: p.tolist() for name, p in restored.model.sharing.decides().items()}),
    }
    return Recipe(text, fresh)


def _without_folder(source: Option) -> Option:
    """A source that names files or folders, if it does, by the last parts of their paths."""
    held = {name: value for name, value in msgspec.structs.asdict(source).items() if name in PLACES}
    bare = {name: _last(value) for name, value in held.items() if value is not None}
    return msgspec.structs.replace(source, **bare)


def _last(places: str | list[str]) -> str | list[str]:
    return Path(places).name if isinstance(places, str) else [Path(place).name for place in places]


def fresh(metadata: Mapping[str, str]) -> Shipped:
    """A model with fresh weights, from nothing but the metadata of a safetensors export."""
    config, meta = check(grown(json.loads(metadata["config"])), []), json.loads(metadata["meta"])
    known = known_from(meta)
    given = given_from(meta, known)
    tasks = build_tasks(config, known)
    whole = build_model(config, tasks, given)
    decided = json.loads(metadata.get("decided", "{}"))  # files of earlier versions lack it
    whole.sharing.load_state_dict({name: torch.tensor(values) for name, values in decided.items()}, strict=False)
    model = needed(whole, list(json.loads(metadata["tasks"])), given.shape)
    return Shipped(model, tasks, known.preparations, given.shape).eval()


def load(file: Path) -> Shipped:
    """The model of a safetensors export, with its weights."""
    return SafetensorsFormat(Safetensors(), Recipe({}, fresh)).load(file)
