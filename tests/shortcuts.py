"""What tests do without: no power fails here, no test tells Hydra its mode but by --multirun."""

import os

from hydra._internal.hydra import Hydra


def _at_once(_descriptor: object) -> None:
    """What is written can be read by every process; that it is on the disk is of use only after a power cut."""


def _no_mode(*_told: object, **_named: object) -> None:
    """Hydra composes once to learn hydra.mode, and once more to run: the second is enough."""


SHORTCUTS = ((os, "fsync", _at_once), (Hydra, "get_mode", _no_mode))
"""What is set where; a test that is about one of them sets its own."""
