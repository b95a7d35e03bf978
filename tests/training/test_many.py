"""A run by several processes is the run of one; stopped and resumed by other numbers of them, it stays that run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.killing import TINY, steps_taken, train, train_many

WORDS = ["weighting=uw", "aggregation=db", "trainer.memory_format=contiguous", "optimizer=sgd"]
KILLED = -9
PLUGIN = """
import os, signal
from mtl_cli.options import Option
from mtl_cli.weighting.fixed import FixedWeighting

class Dying(Option, tag="dying"):
    '''Ends what WHOM says at the fourth step.'''

class Weighting(FixedWeighting):
    def after_step(self, look):
        if look.step == 3 and os.environ["RANK"] == "1":
            os.kill({"self": os.getpid(), "launcher": os.getppid()}[os.environ["WHOM"]], int(os.environ["SIGNAL"]))

TABLE_LINES = {"weighting": [(Dying, "dying:Weighting")]}
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process that was never stopped."""
    run = tmp_path_factory.mktemp("reference") / "run"
    assert train([*TINY, *WORDS, f"run_dir={run}"]) == 0
    return run


def test_two_processes_tell_what_one_does(reference: Path, tmp_path: Path) -> None:
    assert train_many([*TINY, *WORDS, f"run_dir={tmp_path / 'run'}"], ["", ""]) == [0, 0]
    assert furthest(reference, tmp_path / "run") < 1e-5


@pytest.mark.parametrize("victim", [0, 1])
def test_from_one_process_to_two_and_back_with_kills_between_each_sample_is_seen_as_in_an_unbroken_run(
    reference: Path, tmp_path: Path, victim: int
) -> None:
    run = tmp_path / "run"
    assert train([*TINY, *WORDS, f"run_dir={run}"], "step:4") == KILLED
    codes = train_many([f"resume={run}"], ["step:5" if rank == victim else "" for rank in range(2)])
    assert (codes[victim], codes[1 - victim]) == (KILLED, 1)
    assert 4 < steps_taken(run) < 15
    assert train([f"resume={run}"]) == 0
    assert furthest(reference, run) < 1e-5


def test_a_signal_to_one_of_two_saves_and_ends_both(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train_many([*TINY, *WORDS, f"run_dir={run}"], ["", "signal:7"]) == [143, 143]
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"]) == ("interrupted", 8)  # the answer comes a step after the question
    assert train_many([f"resume={run}"], ["", ""]) == [0, 0]
    assert furthest(reference, run) < 1e-5


@pytest.mark.slow
def test_the_launcher_says_in_one_line_which_process_was_killed(tmp_path: Path) -> None:
    done = launched(tmp_path, whom="self", signal=9)
    assert done.returncode == 1
    assert done.stderr == (
        "mtl: process 1 of 2 was ended by signal 9, and the others with it; go on with mtl train resume=RUN, the "
        "directory named above\n"
    )


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves(tmp_path: Path) -> None:
    done = launched(tmp_path, whom="launcher", signal=15)
    assert (done.returncode, done.stderr) == (143, "")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / f"step-{status['step']:08d}" / "manifest.json").is_file()


@pytest.mark.slow
def test_a_mistake_is_told_once_by_two_processes(tmp_path: Path) -> None:
    words = ["train", *TINY, "trainer.processes=2", "task=cifar_multi", f"data_dir={tmp_path}"]
    done = subprocess.run([sys.executable, "-m", "mtl_cli", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"mtl: no CIFAR-10 in {tmp_path}")


def launched(folder: Path, whom: str, signal: int) -> subprocess.CompletedProcess[str]:
    """`mtl train trainer.processes=2`, in which the second process sends a signal; ended within the test's time."""
    (folder / "dying.py").write_text(PLUGIN)
    (folder / "weighting").mkdir()
    (folder / "weighting" / "dying.yaml").write_text("name: dying\n")
    words = [*TINY, "weighting=dying", "plugins=[dying]", "--config-dir", str(folder), f"run_dir={folder / 'run'}"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "WHOM": whom, "SIGNAL": str(signal)}
    command = [sys.executable, "-m", "mtl_cli", "train", *words, "trainer.processes=2"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=240)


def furthest(first: Path, second: Path) -> float:
    """The largest difference of two runs' events, which are the same but for rounding."""
    both = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (first, second)]
    one, other = (dict(_flat(events, "")) for events in both)
    assert one.keys() == other.keys()
    apart = [key for key, value in one.items() if not isinstance(value, float) and value != other[key]]
    assert apart == []
    return max(abs(value - other[key]) for key, value in one.items() if isinstance(value, float))


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if entries is None:
        yield key, value
        return
    for name, inner in entries:
        yield from _flat(inner, f"{key}/{name}")
