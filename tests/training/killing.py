"""Runs of `mtl` in processes of their own that kill themselves at a chosen moment."""

import multiprocessing
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

ROOT = Path(__file__).parents[2]
TINY = [
    "task=digits",
    "data.limit=90",
    "backbone=mlp",
    "backbone.hidden=[12,8]",
    "backbone.dropout=0.2",
    "trainer.epochs=3",
    "trainer.batch_size=16",
    "trainer.save_every=2",
    "trainer.log_every=1",
    "data.validation=0.2",
    "device=cpu",
    "device.threads=1",
    "plots=false",
    "tensorboard=false",
]
"""Three epochs of five steps, a checkpoint every second step and after each epoch."""


def train(words: list[str], plan: str = "", environment: dict[str, str] | None = None) -> int | None:
    """Runs `mtl train` with those words; `plan` says when it kills itself, see `_arm`. Returns the exit code.

    environment: what is other there; without any no GPU is seen.
    """
    return forked(_child, [(words, plan, environment or {})])[0]


def train_many(words: list[str], plans: list[str]) -> list[int | None]:
    """The same in several processes, one a plan, as torchrun starts them. Returns their exit codes."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(len(plans))}
    shared["LOCAL_WORLD_SIZE"] = shared["WORLD_SIZE"]
    ranks = [{**shared, "RANK": str(k), "LOCAL_RANK": str(k)} for k in range(len(plans))]
    return forked(_child, [(words, plan, rank) for plan, rank in zip(plans, ranks, strict=True)])


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def forked(target: Callable[..., None], arguments: list[tuple[Any, ...]]) -> list[int | None]:
    """Calls `target` in a process for each of `arguments`, all at once; forked from a server that has imported torch.

    Returns their exit codes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.warm"])
    processes = [context.Process(target=target, args=own) for own in arguments]
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])):
        for process in processes:
            process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def same(first: Path, second: Path) -> list[str]:
    """What differs between the ends of two runs, but for the clock: weights, training state, metrics, to the bit."""
    different = [
        name for name in ("metrics.jsonl", "metrics.csv") if (first / name).read_bytes() != (second / name).read_bytes()
    ]
    for pointer in ("last", "best"):
        one, other = (run / "checkpoints" / (run / "checkpoints" / pointer).read_text() for run in (first, second))
        if (one / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes():
            different.append(f"{pointer}/model.safetensors")
        states = [_timeless(torch.load(folder / "training.pt", weights_only=True)) for folder in (one, other)]
        different += [f"{pointer}/training.pt:{key}" for key in _unequal(states[0], states[1])]
    return different


def _timeless(state: dict[str, Any]) -> dict[str, Any]:
    """A training state without the seconds that probed steps took."""
    probes = state["probes"]
    timings = [(candidate, looked, rows) for candidate, looked, _, rows in probes["timings"]]
    return {**state, "probes": {**probes, "timings": timings}}


def steps_taken(run: Path) -> int:
    """Steps that metrics.jsonl tells of."""
    return (run / "metrics.jsonl").read_text().count('"event": "step"')


def _unequal(first: Any, second: Any, key: str = "") -> Iterator[str]:
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        for name in first:
            yield from _unequal(first[name], second[name], f"{key}.{name}")
    elif isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        if not _alike(first, second):
            yield key
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for i, (one, other) in enumerate(zip(first, second, strict=True)):
            yield from _unequal(one, other, f"{key}.{i}")
    elif first != second:
        yield key


def _alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    """To the last bit; NaN is like NaN."""
    same_type = first.dtype == second.dtype and torch.equal(first.isnan(), second.isnan())
    return same_type and torch.equal(first.nan_to_num(), second.nan_to_num())


def _child(words: list[str], plan: str, environment: dict[str, str]) -> None:
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", **environment}
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  # for the life of the process
    from mtl_cli.__main__ import main

    with _arm(plan):
        code = main(["train", *words])
    sys.exit(code)


@contextmanager
def _arm(plan: str) -> Iterator[None]:
    """`io:N`: before the N-th call that writes, syncs, renames or removes. `step:N`: within the N-th step.

    `signal:N`: SIGTERM within the N-th step. `final:1`: SIGTERM as the last evaluation begins.
    `timer:S`: after S seconds of the process's own time.
    """
    kind, _, number = plan.partition(":")
    if kind == "timer":
        signal.signal(signal.SIGVTALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_VIRTUAL, float(number))
    if kind == "io":
        counter = Counter(int(number), signal.SIGKILL)
        os.fsync = counter.before(os.fsync)
        shutil.rmtree = counter.before(shutil.rmtree)  # type: ignore[assignment]  # the same signature
        for name in ("rename", "replace", "write_bytes", "mkdir"):
            setattr(Path, name, counter.before(getattr(Path, name)))
    if kind in ("step", "signal"):
        from mtl_cli.training.engine import Engine

        counter = Counter(int(number), signal.SIGKILL if kind == "step" else signal.SIGTERM)
        Engine._move = counter.before(Engine._move)  # type: ignore[method-assign]  # for this process only
    if kind == "final":
        from mtl_cli.commands import train as job

        job.finish = Counter(int(number), signal.SIGTERM).before(job.finish)
    yield


class Counter:
    """Sends its own process a signal before the N-th of the counted calls."""

    def __init__(self, at: int, number: int) -> None:
        self.left = at
        self.number = number

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, counted."""

        def counted(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)
            return function(*arguments, **named)

        return counted
