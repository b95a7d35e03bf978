"""Peak memory of training steps: plain by hand, mtl's balancing ones and TorchJD's, each in a process of its own.

Prints a Markdown table in MiB: what the process holds at most, and how much of that is above what it held once model
and data were there; beside T x P x 4 bytes, the size of T rows. `make bench` runs it.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable

import torch

from bench.balance import aggregator_of, by_torchjd, make_resnet
from bench.step import CLASSES, SHAPE, by_hand, by_mtl, make_model, make_tasks
from mtl_cli.data.base import Batch, Part

STEPS = 4
SIDES = ("plain by hand", "mtl sum", "mtl upgrad", "TorchJD upgrad, chunk size 1")


def held() -> float:
    """MiB at most, up to now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(network: str, count: int, rows: int, side: str) -> None:
    """Prints the peak, what of it is above the start, and T x P x 4 bytes."""
    torch.manual_seed(0)
    tasks = make_tasks(count)
    inputs, targets = torch.randn(rows, *SHAPE), {task: torch.randint(0, CLASSES, (rows,)) for task in tasks}
    batch = Batch([Part("images", inputs, targets, dict.fromkeys(tasks, rows))])
    model = make_model(tasks, 32, norm="none") if network == "cnn" else make_resnet(tasks)
    wide = sum(parameter.numel() for parameter in model.sharing.parameters())
    before = held()
    step: Callable[[int], None]
    if side == "plain by hand":
        step = by_hand(model, inputs, targets)
    elif side.startswith("mtl"):
        step = by_mtl(model, tasks, batch, "fixed", side.removeprefix("mtl "))
    else:
        aggregator = aggregator_of("upgrad", count)
        assert aggregator is not None
        step = by_torchjd(model, inputs, targets, aggregator, "chunk size 1")
    for number in range(STEPS):
        step(number)
    print(held(), held() - before, count * wide * 4 / 2**20)


def main() -> None:
    """Prints the table, or, with `--side`, one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=["cnn", "resnet18"], default="cnn")
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--side", choices=SIDES)
    told = parser.parse_args()
    if told.side:
        measure(told.network, told.tasks, told.batch, told.side)
        return
    print(f"{told.network}, batch {told.batch}, {told.tasks} tasks, {STEPS} steps, torch {torch.__version__}.\n")
    print("| step | the process, MiB | over plain's | above its start, MiB | over plain's | T rows, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    plain: tuple[float, float] | None = None
    given = ["--network", told.network, "--tasks", str(told.tasks), "--batch", str(told.batch)]
    for side in SIDES:
        command = [sys.executable, "-m", "bench.memory", *given, "--side", side]
        told_by = subprocess.check_output(command, text=True)  # noqa: S603  # its own words alone
        peak, above, rows = map(float, told_by.split())
        plain = plain or (peak, above)
        ratios = f"{peak / plain[0]:.2f} | {above:.0f} | {above / plain[1]:.2f}"
        print(f"| {side} | {peak:.0f} | {ratios} | {rows:.0f} |", flush=True)


if __name__ == "__main__":
    main()
