"""Pretrained weights of torchvision's networks: by name, or from a file with the network's own keys."""

import pickle
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum

from mtl_cli.options import ConfigError, nearest

FILES = (".pth", ".pt", ".safetensors")
SHOWN = 3
OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")
"""Keys of torchvision's own files from before its layers were called norm1."""


def known(model: str) -> None:
    """Raises: ConfigError: torchvision has no classification network of that name."""
    names = models.list_models(module=models)
    if model not in names:
        close = nearest(model, names)
        out = close if close.startswith("did you mean") else "docs/backbones.md lists the families"
        raise ConfigError(f"backbone.model={model} is no network of torchvision: {out}")


def entry(model: str, weights: str) -> WeightsEnum:
    """torchvision's entry for weights of that name; for a file the model's default ones, which it is taken to be like.

    Raises: ConfigError: no such name, or no such file.
    """
    entries: dict[str, WeightsEnum] = models.get_model_weights(model).__members__
    if is_file(weights):
        if not Path(weights).expanduser().is_file():
            raise ConfigError(f"backbone.weights={weights} is not there: name a file, or {', '.join(entries)}")
        return entries["DEFAULT"]
    if weights not in entries:
        raise ConfigError(
            f"backbone.weights={weights} is not known for {model}: {nearest(weights, list(entries))} (or a file: "
            f"{', '.join(FILES)})"
        )
    return entries[weights]


def is_file(weights: str) -> bool:
    """Whether a file is meant, rather than a name of torchvision's."""
    return weights.endswith(FILES) or "/" in weights


def read(model: str, weights: str) -> dict[str, Tensor]:
    """The weights under the model's own keys.

    Raises: ConfigError: they cannot be fetched, or read; one line with the file to provide.
    """
    found = _read_file(weights) if is_file(weights) else _fetched(entry(model, weights), weights)
    return {OLD_DENSENET.sub(r"\1\2", key): tensor for key, tensor in found.items()}


def load(network: nn.Module, state: dict[str, Tensor], spare: tuple[str, ...], label: str) -> None:
    """Puts weights into a network.

    Args:
        network: which gets them.
        state: the weights by the network's own keys.
        spare: prefixes of keys that may be missing or in excess: the classifier, auxiliary classifiers.
        label: how the user named the weights.
    Raises: ConfigError: keys are missing, or of other shapes, or not the network's; counts them and names some.
    """
    own = network.state_dict()
    needed = {key for key in own if not key.startswith(spare) and not key.endswith("num_batches_tracked")}
    given = {key: tensor for key, tensor in state.items() if not key.startswith(spare)}
    odd = [f"{key} is missing" for key in own if key in needed and key not in given]
    odd += [f"{key} is not the model's" for key in given if key not in own]
    odd += [
        f"{key} is {tuple(tensor.shape)}, not {tuple(own[key].shape)}"
        for key, tensor in given.items()
        if key in own and tensor.shape != own[key].shape
    ]
    if odd:
        more = f" and {len(odd) - SHOWN:,} more" if len(odd) > SHOWN else ""
        count = "1 key" if len(odd) == 1 else f"{len(odd):,} keys"
        raise ConfigError(f"{label} does not fit in {count}: {', '.join(odd[:SHOWN])}{more}")
    network.load_state_dict(given, strict=False)


def _fetched(found: WeightsEnum, name: str) -> dict[str, Tensor]:
    file = Path(urlparse(found.url).path).name
    place = Path(torch.hub.get_dir()) / "checkpoints" / file
    try:
        state: dict[str, Tensor] = found.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"backbone.weights={name} cannot be fetched ({reason}): put {found.url} at {place}, or name a copy of it "
            f"with backbone.weights=PATH/{file}"
        ) from None
    return state


def _read_file(name: str) -> dict[str, Tensor]:
    path = Path(name).expanduser()
    try:
        loaded: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"backbone.weights={name} cannot be read as weights: {reason}") from None
    if not isinstance(loaded, dict) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise ConfigError(f"backbone.weights={name} should hold tensors by key, as model.state_dict() gives them")
    return loaded
