"""mtl predict: what a trained model says of a table's rows or of images."""

import sys
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from mtl_cli.asked import STDIN, Prediction
from mtl_cli.commands.restore import Restored, restore
from mtl_cli.config import Config
from mtl_cli.data.items import Items
from mtl_cli.data.options import TableFile
from mtl_cli.data.pictures import Reader, images, listing, paths, trained_on
from mtl_cli.data.table.given import Trained, rows_of, rows_of_stdin
from mtl_cli.options import JobError
from mtl_cli.reporting.atomic import placed
from mtl_cli.reporting.wording import quoted
from mtl_cli.session import Session
from mtl_cli.shipping.needed import needed
from mtl_cli.shipping.rows import Writer, rows
from mtl_cli.shipping.shipped import Shipped
from mtl_cli.tasks.base import Task
from mtl_cli.training.options import DEVICES
from mtl_cli.training.stop import Stop


def run(config: Config, asked: Prediction, given: Path, session: Session) -> None:  # noqa: ARG001  # every command's
    """Writes a row for each item, batch by batch; stdout has nothing but rows.

    Raises: ConfigError: the checkpoint is damaged, there is nothing to read, or a column is not there. JobError: some
        items could not be read.
    """
    device: torch.device = DEVICES.target(config.device)(config.device)
    restored = restore(config, given)
    preparations, shape = restored.known.preparations, restored.given.shape
    model = needed(restored.model, list(restored.tasks), shape)
    shipped = Shipped(model, restored.tasks, preparations, shape).eval().to(device)
    what, batches = _batches(config, asked, restored, shipped)
    bad = total = 0
    with Stop(), _opened(asked.output) as stream, closing(batches):
        first = _free("path" if what == "image" else what, shipped.tasks)
        writer = Writer(stream, asked.options.format, first, shipped.tasks)
        for items in batches:
            stop = items.faults[0] if items.faults and asked.on_error == "stop" else None
            told = items if stop is None else items.until(stop)
            for fault in told.faults:
                sys.stderr.write(f"mtl: {fault.line}\n")
            if len(told):
                writer.write(rows(first, told.names, _answers(shipped, told.inputs, device), shipped.tasks))
            if stop is not None:
                raise JobError(stop.line)
            total, bad = total + len(items) + len(items.faults), bad + len(items.faults)
        writer.write([])
    if asked.output is not None and asked.output.is_file():
        sys.stdout.write(f"written: {quoted(asked.output)}\n")
    if bad:
        raise JobError(f"{bad:,} of {total:,} {what}s could not be read")


def _batches(config: Config, asked: Prediction, restored: Restored, shipped: Shipped) -> tuple[str, Generator[Items]]:
    """What items are called, and the items."""
    size, name = config.trainer.eval_batch_size, asked.input
    if shipped.table is not None:
        option = next(part for part in config.data.parts.values() if isinstance(part, TableFile))
        trained = Trained(option, shipped.table)
        if name == STDIN:
            return "row", rows_of_stdin(sys.stdin.buffer, trained, size)
        return "row", rows_of(Path(name).expanduser(), name, trained, size)
    resized = any(preparation.size is not None for preparation in restored.known.preparations.values())
    reader = Reader(restored.given.shape, resized, trained_on(config.data.parts))
    how = listing(config.data.parts, Path(config.data_dir).expanduser())
    return "image", images(paths(name, STDIN, sys.stdin, how), reader, size)


def _free(name: str, taken: Mapping[str, Task]) -> str:
    return _free(f"{name}_", taken) if name in taken else name


def _answers(shipped: Shipped, inputs: Tensor, device: torch.device) -> dict[str, Tensor]:
    """The named outputs, on the host."""
    with torch.no_grad():
        return {name: tensor.cpu() for name, tensor in shipped.answers(inputs.to(device)).items()}


def _opened(output: Path | None) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if output is None else placed(output)
