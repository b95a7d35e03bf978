"""Images of a stream decoded ahead of their use, by processes of their own."""

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mtl_cli.data.base import Stream
from mtl_cli.options import JobError

Rows = npt.NDArray[np.int64]
AHEAD = 2
"""Batches that each process decodes ahead."""


def ahead(stream: Stream, batches: Iterator[Rows], device: torch.device) -> Iterator[Tensor]:
    """The images of each batch, in the batches' order, whichever process is done first.

    The first batch is decoded here, so that whoever takes one alone starts no process.

    Shapes: batches (B,) -> (B, C, H, W) uint8, on the device
    Raises: JobError: a file that was whole when the run began is no longer.
    """
    first = next(batches, None)
    if first is None:
        return
    yield stream.read(torch.from_numpy(first)).to(device)
    second = next(batches, None)
    if second is None:
        return
    for found in _begun(lambda: _loader(stream, chain([second], batches), device)):
        if isinstance(found, str):
            raise JobError(found)
        yield found.to(device, non_blocking=True)


class _Read(Dataset[Tensor | str]):
    """Batches by their rows; of one that cannot be read the line that says so, as an error would bring its trace."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __getitem__(self, rows: Rows) -> Tensor | str:
        try:
            return self._stream.read(torch.from_numpy(rows))
        except JobError as error:
            return str(error)


def _loader(stream: Stream, batches: Iterator[Rows], device: torch.device) -> DataLoader[Tensor | str]:
    return DataLoader(
        _Read(stream),
        sampler=batches,
        batch_size=None,
        num_workers=stream.workers,
        prefetch_factor=AHEAD,
        pin_memory=device.type == "cuda",
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # of a batch, as there is no batch_size
        worker_init_fn=_apart,
    )


def _begun(loader: Callable[[], DataLoader[Tensor | str]]) -> Iterator[Tensor | str]:
    """Starts the processes; a Ctrl-C meanwhile is kept for this one, and does not reach them half begun."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of more processes than CPUs: who asks for them gets them
            return iter(loader())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _apart(_: int) -> None:
    """Out of the terminal's reach: Ctrl-C is for the parent, with which this one ends (torch looks every 5 s)."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})


def _as_it_is(found: Tensor | str) -> Tensor | str:
    return found
