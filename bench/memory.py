"""Peak memory of a balancing step beside plain training's.

On a CPU each is a fresh process, `python -m bench.memory SIDE BACKBONE TASKS BATCH DEVICE`, which prints the bytes that
three steps of that side took at most beyond what was there when all was imported; on a GPU, whose allocator counts
exactly, it is what torch allocated at most beyond what it held before, in this process.
"""

import gc
import os
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from bench.step import THE_CNN, by_hand, by_mtl, make_batch, make_model, make_tasks
from bench.turns import Found, Row, Step, Told

ABOUT = (
    "Peak memory of three steps: on a CPU what fresh processes hold beyond their imports, on a GPU what torch\n"
    "allocates. A balancing method may keep rows (T, P); in the last two they count: beside plain training plus\n"
    "1.1 x T x P x 4 bytes."
)
MIB = 2**20
PROC, FORGET = Path("/proc/self"), "5"
"""Linux's account of this process, and what makes it forget the peak so far."""
ROWS_FACTOR = 1.1 * 4
"""Bytes for each number in the rows."""
REPEATS = 3


def one(side: str, backbone: str, count: int, rows: int, device: torch.device) -> int:
    """The bytes of one side, in this process."""
    tasks = make_tasks(count)
    before = _begin(device)
    model = make_model(backbone, tasks, **(THE_CNN if backbone == "cnn" else {})).to(device)
    batch = make_batch(list(tasks), rows, device)
    step: Step = by_hand(model, batch) if side == "plain" else by_mtl(model, tasks, batch, "fixed", side)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # by_mtl has tried ways that it does not take
    for number in range(3):
        step(number)
    return _peak(device) - before


def _begin(device: torch.device) -> int:
    """Forgets the peak of the imports. The bytes that are held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    PROC.joinpath("clear_refs").write_text(FORGET, encoding="ascii")
    return _status("VmRSS")


def _peak(device: torch.device) -> int:
    """The largest number of bytes since."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _status(name: str) -> int:
    """A number of /proc/self/status, which counts KiB."""
    lines = PROC.joinpath("status").read_text(encoding="ascii").splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found)


def _measured(side: str, backbone: str, count: int, rows: int, told: Told) -> float:
    if told.device.type == "cuda":  # whose allocator counts exactly, whatever was there before
        gc.collect()
        return one(side, backbone, count, rows, told.device) / MIB
    words = [side, backbone, str(count), str(rows), str(told.device)]
    command = [sys.executable, "-m", "bench.memory", *words]
    root = Path(__file__).parents[1]
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    found = subprocess.run(command, cwd=root, env=threads, capture_output=True, text=True, check=True)  # noqa: S603  # our own words
    return int(found.stdout) / MIB


def measure(told: Told) -> Found:
    """Forty tasks on the small CNN; then what holds elsewhere."""
    yield _row("cnn", 40, 128, told, counted=False, bar=1.2)
    yield _row("cnn", 10, 128, told, counted=True, bar=1.0)
    yield _row("resnet18_cifar", 10, 8, told, counted=True, bar=1.0)


def _row(backbone: str, count: int, rows: int, told: Told, counted: bool, bar: float) -> Row:
    """counted: whether the rows may be held beside what plain training holds."""
    model = make_model(backbone, make_tasks(count), **(THE_CNN if backbone == "cnn" else {}))
    shared = sum(parameter.numel() for parameter in model.sharing.parameters())
    more = ROWS_FACTOR * count * shared / MIB if counted else 0.0
    pairs = [[_measured(side, backbone, count, rows, told) for side in ("upgrad", "plain")] for _ in range(REPEATS)]
    ratios = [mine / (plain + more) for mine, plain in pairs]
    peer = f"plain training{f' plus {more:.0f} MiB' if counted else ''}"
    name = f"peak memory, upgrad, {backbone}, batch {rows}, T = {count}"
    held = statistics.median(plain + more for _, plain in pairs)
    return Row(name, peer, statistics.quantiles(ratios, n=4), bar, held, "MiB", REPEATS)


if __name__ == "__main__":
    print(one(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), torch.device(sys.argv[5])))
