"""Help is there at once, and torch is loaded only for a configuration that was found right."""

import subprocess
import sys
from pathlib import Path

import pytest

from mtl_cli import __version__
from mtl_cli.__main__ import COMMANDS
from tests.cli.calls import Mtl

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "hydra", "rich", "omegaconf", "msgspec", "sklearn", "numpy")


def modules_after(*words: str, cwd: Path) -> tuple[str, set[str]]:
    """The output of a command line in a process of its own, and the top-level modules that it loaded."""
    return _modules("code = main(sys.argv[1:]); told(); sys.exit(code)", *words, cwd=cwd)


def modules_at_the_first_step(*words: str, cwd: Path) -> tuple[str, set[str]]:
    """The same at the moment that the first step is written down, where the process leaves."""
    code = (
        "from mtl_cli.reporting.metric_log import MetricLog\n"
        "def write(log, event): told(); sys.stdout.flush(); os._exit(0)\n"
        "MetricLog.write = write; main(sys.argv[1:])"
    )
    return _modules(code, *words, "trainer.log_every=1", cwd=cwd)


def _modules(code: str, *words: str, cwd: Path) -> tuple[str, set[str]]:
    begin = (
        "import os, sys; sys.path.insert(0, sys.argv.pop(1)); from mtl_cli.__main__ import main\n"
        "def told(): print('\\nMODULES', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin + code, str(ROOT), *words], capture_output=True, text=True, cwd=cwd, check=False
    )
    out, _, modules = done.stdout.partition("\nMODULES ")
    return out + done.stderr, set(modules.split())


@pytest.mark.parametrize("words", [["--help"], ["trian"], ["--version"]])
def test_the_first_page_loads_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    out, modules = modules_after(*words, cwd=tmp_path)
    assert out
    assert "mtl_cli" in modules
    assert modules.isdisjoint(HEAVY)


@pytest.mark.parametrize("words", [["train", "--cfg", "job"], ["train", "trainer.epochs=0"], ["ls", "sharing"]])
def test_composing_and_checking_load_no_torch(words: list[str], tmp_path: Path) -> None:
    out, modules = modules_after(*words, cwd=tmp_path)
    assert "Traceback" not in out
    assert "hydra" in modules
    assert modules.isdisjoint({"torch", "torchvision", "torchmetrics", "sklearn", "numpy"})


def test_the_first_step_waits_for_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    out, modules = modules_at_the_first_step("train", "data.limit=100", "tensorboard=false", cwd=tmp_path)
    assert "Traceback" not in out
    assert "torch" in modules
    assert modules.isdisjoint({"torchvision", "torchmetrics", "sklearn", "scipy", "matplotlib", "pyarrow", "rich"})


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command(mtl: Mtl, words: list[str]) -> None:
    answer = mtl(*words)
    assert (answer.code, answer.err) == (0, "")
    assert all(f"  {command} " in answer.out for command in COMMANDS)


def test_help_with_a_command_is_that_commands_page(mtl: Mtl) -> None:
    assert mtl("help", "eval").out.startswith("mtl eval ")


def test_the_version_is_the_packages(mtl: Mtl) -> None:
    assert mtl("--version").out == mtl("train", "--version").out == f"mtl {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_of_80_columns(mtl: Mtl, command: str) -> None:
    answer = mtl(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"mtl {command} ")
    assert "Examples:" in answer.out
    assert "${" not in answer.out
    assert max(len(row) for row in answer.out.splitlines()) <= 80


@pytest.mark.parametrize(
    "words",
    [
        ["--cfg", "job"],
        ["-c", "job", "-p", "trainer"],
        ["--cfg", "all", "--resolve", "hydra.job.num=0"],
        ["--info", "defaults"],
        ["trainer.epochs=3", "--info=config"],
        ["--hydra-help"],
    ],
)
def test_hydras_own_options_work_and_leave_nothing(mtl: Mtl, tmp_path: Path, words: list[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = mtl("train", *words)
    assert (answer.code, answer.err, answer.jobs) == (0, "", [])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [["--cfg", "job"], ["--cfg=all", "-p", "trainer"], ["-c", "job", "--resolve"]])
def test_a_configuration_that_is_shown_is_checked_after_it(mtl: Mtl, tmp_path: Path, words: list[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = mtl("train", "trainer.epochs=abc", *words)
    assert (answer.code, answer.jobs) == (2, [])
    assert "epochs: abc\n" in answer.out
    assert answer.err == "mtl: trainer.epochs=abc is not valid: expected whole number at least 1\n"
    assert mtl("train", "--cfg", "hydra", "trainer.epochs=abc").code == 0  # not what is shown
    assert sorted(tmp_path.rglob("*")) == before


def test_options_may_stand_after_overrides(mtl: Mtl) -> None:
    answer = mtl("train", "trainer.epochs=3", "--cfg", "job", "seed=4", "-p", "seed")
    assert answer.out == "4\n"
