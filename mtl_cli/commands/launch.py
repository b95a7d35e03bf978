"""`trainer.processes=N`: starts the processes that `torchrun` would, with its own machinery."""

import logging
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from mtl_cli.options import ConfigError, Interrupted, JobError, SaidError
from mtl_cli.training.group import OURS, started
from mtl_cli.training.options import TrainerOptions

GRACE = 25
"""Seconds that the others have to end once one has, or a signal came; then they are killed."""


STOPPED = tuple(128 + number for number in (signal.SIGINT, signal.SIGTERM))
"""Exit codes of a process that saved and ended on a signal."""


def wanted(options: TrainerOptions) -> int:
    """How many processes to start; 1: none, this one trains. Raises: ConfigError: torchrun started another number."""
    running = started()
    if running is None:
        return options.processes or 1
    if options.processes not in (None, running):
        raise ConfigError(
            f"trainer.processes={options.processes} does not go with torchrun, which started {running}: set it to null"
        )
    return 1


def start(count: int, words: Sequence[str]) -> None:
    """Lets so many processes train by those words of the command line, and waits for them.

    Raises: Interrupted: on a signal, when all have saved and ended. JobError: one was killed. SaidError: one has failed
        and told why.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException  # not at the top: a second
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # its lines repeat what ours say
    try:
        with TemporaryDirectory() as logs, _handlers_kept():
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=count,
                run_id=f"{OURS}{uuid.uuid4().hex}",
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                max_restarts=0,
                shutdown_timeout=GRACE,
                logs_specs=DefaultLogsSpecs(log_dir=logs),
            )
            elastic_launch(config, sys.executable)("-m", "mtl_cli", "train", *words)
    except SignalException as stopped:
        raise Interrupted(128 + stopped.sigval) from None
    except ChildFailedError as failed:
        codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        killed = [rank for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM]  # SIGTERM ends the rest
        stopped_by = [code for code in codes.values() if code in STOPPED]
        if stopped_by and not killed:
            raise Interrupted(stopped_by[0]) from None
        if not killed:
            raise SaidError(max(1, *codes.values())) from None
        raise JobError(
            f"process {killed[0]} of {count} was ended by signal {-codes[killed[0]]}, and the others with it; go on "
            "with mtl train resume=RUN, the directory named above"
        ) from None


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """What signals did before is what they do again: torch's launcher leaves its own handlers behind."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
