"""Sides that are timed in processes of their own, as a user has them: neither sees what the other does to its memory.

A side is a function without arguments, made of plain values, so that another process can be given it.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection

import torch

from bench.turns import Step, Told
from mtl_cli.training.heap import ASKED, keep_freed

Side = Callable[[], Step]
"""Makes its step."""
PRELOADED = ["bench.epoch", "bench.balance", "bench.parts", "bench.growth"]


def keeping(side: Side) -> Step:
    """That side's step in a process that keeps freed memory as mtl's does."""
    keep_freed()
    return side()


def leave_the_heap_alone() -> None:
    """A side by hand may use mtl's parts for what is not timed: its memory stays as glibc has it."""
    os.environ.setdefault(ASKED[0], "")  # glibc has read it long ago


@contextmanager
def standing(sides: Sequence[Side], told: Told) -> Iterator[list[Step]]:
    """Their steps, ready; on a GPU, and by CPU time, which is told of one process alone, they share this one."""
    if told.device.type != "cpu" or told.clock != "wall":
        yield [side() for side in sides]
        return
    with ExitStack() as stack:
        yield [stack.enter_context(_elsewhere(side)) for side in sides]


@contextmanager
def _elsewhere(side: Side) -> Iterator[Step]:
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)  # so that no side waits for torch
    pipe, theirs = server.Pipe()
    process = server.Process(target=_serve, args=(side, torch.get_num_threads(), theirs))
    process.start()
    theirs.close()

    def step(number: int) -> None:
        pipe.send(number)
        pipe.recv()

    try:
        pipe.recv()  # it stands
        yield step
    except EOFError:
        raise SystemExit("a side of the benchmark ended: what it said is above") from None
    finally:
        pipe.close()
        process.join()


def _serve(side: Side, threads: int, pipe: Connection) -> None:
    torch.set_num_threads(threads)
    step = side()
    pipe.send(None)
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        step(number)
        pipe.send(None)
