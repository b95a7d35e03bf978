"""mtl predict: what a trained model says of images."""

import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from mtl_cli.asked import STDIN, Prediction
from mtl_cli.commands.restore import restore
from mtl_cli.config import Config
from mtl_cli.data.pictures import Reader, UnreadableError, paths
from mtl_cli.options import JobError
from mtl_cli.session import Session
from mtl_cli.shipping.needed import needed
from mtl_cli.shipping.rows import Writer, rows
from mtl_cli.shipping.shipped import WHITE, Shipped
from mtl_cli.training.options import DEVICES


def run(config: Config, asked: Prediction, given: Path, session: Session) -> None:  # noqa: ARG001  # every command's
    """Writes a row for each image, batch by batch; stdout has nothing but rows.

    Raises: ConfigError: the checkpoint is damaged, or there is no image. JobError: some images could not be read.
    """
    device: torch.device = DEVICES.target(config.device)(config.device)
    restored = restore(config, given)
    preparations = restored.known.preparations
    reader = Reader(restored.given.shape, any(preparation.size is not None for preparation in preparations.values()))
    found = paths(asked.input, STDIN, sys.stdin)
    model = needed(restored.model, list(restored.tasks), restored.given.shape)
    shipped = Shipped(model, restored.tasks, preparations, restored.given.shape).eval().to(device)
    bad = total = 0
    with _opened(asked.options.output) as stream:
        writer = Writer(stream, asked.options.format, shipped.tasks)
        for batch, images in _read(found, reader, config.trainer.eval_batch_size):
            total, bad = total + len(images), bad + len(images) - len(batch)
            answers = _answers(shipped, [image for image in images if image is not None], device)
            writer.write(rows(batch, answers, shipped.tasks) if batch else [])
    if bad:
        raise JobError(f"{bad:,} of {total:,} images could not be read")


def _read(found: Iterable[Path], reader: Reader, size: int) -> Iterator[tuple[list[str], list[Tensor | None]]]:
    """Batches: the names of images that could be read, and all images, None for one that could not and was named."""

    def read(path: Path) -> Tensor | UnreadableError:
        try:
            return reader(path)
        except UnreadableError as error:
            return error

    rest = iter(found)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        while batch := list(islice(rest, size)):
            images = [_or_named(image) for image in pool.map(read, batch)]
            yield [_text(path) for path, image in zip(batch, images, strict=True) if image is not None], images


def _or_named(image: Tensor | UnreadableError) -> Tensor | None:
    """The image; or its fault told, in the order of the images, whichever thread was first."""
    if isinstance(image, Tensor):
        return image
    sys.stderr.write(f"mtl: {image}\n")
    return None


def _answers(shipped: Shipped, images: list[Tensor], device: torch.device) -> dict[str, Tensor]:
    """The named outputs, on the host."""
    if not images:
        return {}
    with torch.no_grad():
        answers = shipped(torch.stack(images).to(device) / WHITE)
    return {name: tensor.cpu() for name, tensor in answers.items()}


def _opened(output: str | None) -> AbstractContextManager[TextIO]:
    if output is None:
        return nullcontext(sys.stdout)
    return Path(output).expanduser().open("w", encoding="utf-8", newline="")


def _text(path: Path) -> str:
    """The path as text; bytes that are no text are marked."""
    return os.fsencode(path).decode("utf-8", "replace")
