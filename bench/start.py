"""How soon `mtl` is there: real command lines in processes of their own, interleaved with a bare import of torch.

The first step is there when `metrics.jsonl` has its line, which `trainer.log_every=1` writes at once; the process is
stopped then. Processor seconds are user and system time of the whole process: a busy machine moves them less than the
clock. Prints a Markdown table of medians and quartiles. `make bench` runs it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

MTL = [sys.executable, "-m", "mtl_cli"]
BARE = [sys.executable, "-c", "import torch, torchvision"]
HELP = [*MTL, "--help"]
MISTAKE = [*MTL, "train", "trainer.epochs=0"]
TRAIN = [*MTL, "train", "trainer.log_every=1"]
LOOK = 0.002
"""Seconds between two looks at a file."""


class Spent(NamedTuple):
    """What a process took: seconds by the clock, and of processors."""

    wall: float
    cpu: float


class Row(NamedTuple):
    """One line of the table: median and quartiles, and the bar that the median should stay below, if there is one."""

    what: str
    median: float
    low: float
    high: float
    bar: float | None

    @classmethod
    def of(cls, what: str, values: Sequence[float], bar: float | None = None) -> "Row":
        """The line of some measurements."""
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(what, middle, low, high, bar)


def whole(words: list[str], code: int = 0) -> Spent:
    """A command line from its start to its end."""
    begin = time.perf_counter()
    process = _started(words)
    cpu = _ended(process)
    wall = time.perf_counter() - begin
    assert process.returncode == code, f"{words} ended with {process.returncode}"
    return Spent(wall, cpu)


def to_first_step() -> Spent:
    """`mtl train` of the bundled digits, to the line of its first step."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "run" / "metrics.jsonl"
        begin = time.perf_counter()
        process = _started([*TRAIN, f"run_dir={log.parent}"])
        while not (log.exists() and log.stat().st_size > 0) and process.poll() is None:
            time.sleep(LOOK)
        wall = time.perf_counter() - begin
        assert process.returncode is None, f"{TRAIN} ended with {process.returncode}"
        process.kill()
        return Spent(wall, _ended(process))


def imports_torch(words: list[str]) -> bool:
    """Whether a command line loads torch, by Python's own account of its imports."""
    python, *rest = words
    told = [python, "-X", "importtime", *rest]
    done = subprocess.run(told, check=False, env=_environment(), capture_output=True, text=True)  # noqa: S603  # ours
    return any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())


def rows(rounds: int) -> list[Row]:
    """Measures so many times each, in turns, after one round that fills the caches."""
    each: dict[str, Callable[[], Spent]] = {
        "bare": lambda: whole(BARE),
        "train": to_first_step,
        "help": lambda: whole(HELP),
        "mistake": lambda: whole(MISTAKE, code=2),
    }
    found: list[dict[str, Spent]] = []
    for number in range(rounds + 1):
        order = list(each) if number % 2 else list(reversed(each))
        found.append({name: each[name]() for name in order})
    found = found[1:]
    return [
        Row.of("`mtl --help`, seconds", [one["help"].wall for one in found], 0.15),
        Row.of("`mtl train trainer.epochs=0`, seconds to its error", [one["mistake"].wall for one in found]),
        Row.of("the same, over the bare import", [one["mistake"].wall / one["bare"].wall for one in found]),
        Row.of("`mtl train` to its first step, over the bare import", [_ratio(one, "wall") for one in found], 1.5),
        Row.of("the same, processor seconds", [_ratio(one, "cpu") for one in found]),
        Row.of("the bare import, seconds", [one["bare"].wall for one in found]),
        Row.of("the bare import, processor seconds", [one["bare"].cpu for one in found]),
    ]


def _ratio(one: dict[str, Spent], of: str) -> float:
    train, bare = one["train"]._asdict(), one["bare"]._asdict()
    return float(train[of] / bare[of])


def _started(words: list[str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, env=_environment(), stdout=quiet, stderr=quiet)  # noqa: S603  # ours


def _ended(process: subprocess.Popen[bytes]) -> float:
    """Waits for the end of a process. Returns the processor seconds that it took."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    """The caller's, with compiled modules kept."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    told = parser.parse_args()
    python, torch, vision = sys.version.split()[0], version("torch"), version("torchvision")
    print(f"{told.rounds} rounds, Python {python}, torch {torch}, torchvision {vision}.")
    assert imports_torch(BARE)
    print(f"A configuration error {'imports' if imports_torch(MISTAKE) else 'does not import'} torch.\n")
    print("| start | median | quartiles | at most |")
    print("| --- | --- | --- | --- |")
    for row in rows(told.rounds):
        bar = "" if row.bar is None else f"{row.bar:g}"
        print(f"| {row.what} | {row.median:.3f} | {row.low:.3f} to {row.high:.3f} | {bar} |", flush=True)


if __name__ == "__main__":
    main()
