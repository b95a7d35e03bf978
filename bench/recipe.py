"""`mtl train experiment=cifar_fast` on a GPU: seconds to so many of the objects right, on validation.

The clock starts with the first step and is read when an epoch's line is there, so evaluation and checkpoints count.
As in published records reading and compiling do not: where the first step began is told by the pace of later ones.
Nothing is measured on a CPU: it takes hours.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from bench.turns import Found, Row, Told

ABOUT = (
    "`mtl train experiment=cifar_fast` (three tasks, validation carved from train) to a share of the objects, from\n"
    "its first step on, beside a published script that learns the objects alone (airbench94: 94 % in 2.6 s on an\n"
    "A100). The images were JPEGs of CIFAR-10, quality 75, which cost accuracy."
)
RECORD = 2.6
WANTED = (0.85, 0.9, 0.94)
SEEDS = 2
LOOK = 0.01
LOG_EVERY = 40
"""Steps: two lines within the first epoch of 88."""


class Run(NamedTuple):
    """Seconds from the first step to the end of each epoch, and the share of the objects that was right there."""

    seconds: list[float]
    right: list[float]

    def to(self, wanted: float) -> float | None:
        """Seconds to the first epoch that has what is wanted; None: none had."""
        return next((s for s, right in zip(self.seconds, self.right, strict=True) if right >= wanted), None)


def measure(told: Told) -> Found:
    """On a GPU a row for each share that every run reached, and one for whole runs. None elsewhere."""
    if told.device.type != "cuda":
        return
    runs = [trained(seed) for seed in range(max(1, round(told.share * SEEDS)))]
    for wanted in WANTED:
        seconds = [found for run in runs if (found := run.to(wanted)) is not None]
        if len(seconds) == len(runs):
            yield _row(f"cifar_fast to {wanted:.0%} of the objects", seconds)
    best = ", ".join(f"{max(run.right):.1%}" for run in runs)
    yield _row(f"cifar_fast to its end; best {best}", [run.seconds[-1] for run in runs])


def _row(name: str, seconds: list[float]) -> Row:
    ratios = [each / RECORD for each in seconds]
    spread = quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios
    return Row(name, "airbench94 to 94 %, published", spread, None, RECORD, "s", len(ratios))


def trained(seed: int) -> Run:
    """One run. Raises: RuntimeError: it failed."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "experiment=cifar_fast", f"seed={seed}", "device=cuda", f"trainer.log_every={LOG_EVERY}"]
        words += [f"run_dir={folder}/run"]
        process = subprocess.Popen([sys.executable, "-m", "mtl_cli", *words])  # noqa: S603  # our own words
        return told_by(list(followed(process, Path(folder) / "run" / "metrics.jsonl")))


def followed(process: subprocess.Popen[bytes], log: Path) -> Iterator[tuple[float, dict[str, Any]]]:
    """Each line of a run's log with the time at which it was there."""
    seen = 0
    while True:
        ended = process.poll() is not None
        lines = log.read_text().split("\n")[:-1] if log.exists() else []
        for line in lines[seen:]:
            yield time.perf_counter(), json.loads(line)
        seen = len(lines)
        if ended and process.returncode:
            raise RuntimeError(f"a run ended with {process.returncode}")
        if ended:
            return
        time.sleep(LOOK)


def told_by(lines: list[tuple[float, dict[str, Any]]]) -> Run:
    """What a log and its times tell; its first step began as long before the first line as the next lines are apart."""
    first, second = [line for line in lines if line[1]["event"] == "step"][:2]
    pace = (second[0] - first[0]) / (second[1]["step"] - first[1]["step"])
    begun = first[0] - pace * first[1]["step"]
    epochs = [(when - begun, event["val"]["object"]["accuracy"]) for when, event in lines if event["event"] == "epoch"]
    return Run([when for when, _ in epochs], [right for _, right in epochs])
