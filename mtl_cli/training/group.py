"""Joining the processes that torchrun started: a group of torch.distributed for the length of a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
from torch import distributed
from torch._C._distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from mtl_cli.options import ConfigError, JobError, SaidError
from mtl_cli.processes import GoneError, Processes

OURS = "mtl-"
"""How the name of a launch by `trainer.processes` begins: its launcher tells which process has ended."""

TOLD = "mtl/told"
PATIENCE = timedelta(seconds=3)
LONGEST = timedelta(days=7)
"""What one may wait for another, which reads a data set or draws: whether it is alive, the launcher watches."""


def started() -> int | None:
    """How many processes torchrun started this one among; None: it did not."""
    told = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in told) else None


def local() -> tuple[int, int]:
    """This one's number among those on this machine, and how many there are."""
    if started() is None:
        return 0, 1
    return int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])


@contextmanager
def joined() -> Iterator[Processes]:
    """Within it all that torchrun started are a group; whatever ends them, one of them tells it.

    Tensors on CUDA devices travel by NCCL, others by Gloo.

    Raises: SaidError: in place of an error that another process tells of.
    """
    if started() is None:
        yield Processes()
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, rank, size = next(rendezvous("env://", rank, size))
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST)
    failed = True
    try:
        yield Processes()
        failed = False
    except GoneError as error:
        if not os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(OURS) and _first(store, rank):
            raise
        raise SaidError(1) from error
    except ConfigError as error:
        if not _first(store, rank):
            raise SaidError(2) from error
        if rank > 0:
            raise JobError(f"process {rank} alone finds: {error}") from error
        raise
    except Exception as error:
        if _first(store, rank):
            raise
        raise SaidError(1) from error
    finally:
        if not (failed and torch.cuda.is_available()):  # NCCL would wait for those that are gone
            distributed.destroy_process_group()


def _first(store: Store, rank: int) -> bool:
    """Whether no other process tells of an error; the lead knows more, so others give it time to.

    Where nobody can say, as the launcher that holds the store has ended, this one had better tell.
    """
    try:
        if rank > 0:
            with suppress(distributed.DistStoreError):  # it did not
                store.wait([TOLD], PATIENCE)
        return bool(store.add(TOLD, 1) == 1)
    except RuntimeError:
        return True
