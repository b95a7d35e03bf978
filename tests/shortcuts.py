"""What tests do without: no power fails here, no test tells Hydra its mode but by --multirun, a YAML is parsed once."""

import os
from io import TextIOWrapper
from typing import Any

import yaml
from hydra._internal.hydra import Hydra

PARSED: dict[str, Any] = {}
parse = yaml.load


def _at_once(_descriptor: object) -> None:
    """What is written can be read by every process; that it is on the disk is of use only after a power cut."""


def _no_mode(*_told: object, **_named: object) -> None:
    """Hydra composes once to learn hydra.mode, and once more to run: the second is enough."""


def _parsed(stream: Any, Loader: type) -> Any:
    """What a file says that OmegaConf loads, which copies it; the same text says the same, a mistake is no answer."""
    if not isinstance(stream, TextIOWrapper) or Loader.__name__ != "OmegaConfLoader":
        return parse(stream, Loader)
    start, text = stream.tell(), stream.read()
    if text not in PARSED:
        stream.seek(start)
        PARSED[text] = parse(stream, Loader)
    return PARSED[text]


SHORTCUTS = ((os, "fsync", _at_once), (Hydra, "get_mode", _no_mode), (yaml, "load", _parsed))
"""What is set where; a test that is about one of them sets its own."""
