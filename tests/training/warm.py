"""Imported once by the server that forks processes for tests: what each of them would import and set up first."""

import contextlib
import os
from pathlib import Path

import mtl_cli.commands.train
import mtl_cli.data.digits
import mtl_cli.tasks.metrics  # noqa: F401  # with torchmetrics
from mtl_cli.__main__ import main
from tests.shortcuts import SHORTCUTS

for where, name, instead in SHORTCUTS:
    setattr(where, name, instead)

# Hydra's plugins and parsers are set up by the first composition of a process; nothing here computes or starts threads.
with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
    main(["train", "task=digits", "--cfg", "job"])
