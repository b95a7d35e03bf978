"""Jobs in other processes: each has its own run, a failed one is named, and Ctrl-C lets them save."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

from mtl_cli.cli import away
from mtl_cli.cli.arguments import parse
from mtl_cli.cli.away import Answer
from mtl_cli.cli.errors import worded
from mtl_cli.cli.jobs import Call
from mtl_cli.options import Interrupted
from tests.cli.calls import Mtl

TINY = ("data.limit=90", "backbone=mlp", "plots=false", "tensorboard=false", "device=cpu", "device.threads=1")
LAUNCHERS = [("processes", "hydra_joblib_launcher"), ("local", "hydra_submitit_launcher")]


def sweep(launcher: str, *words: str, cwd: Path) -> subprocess.Popen[str]:
    """A real sweep in a process of its own."""
    command = [sys.executable, "-m", "mtl_cli", "train", "-m", f"hydra/launcher={launcher}", *words, *TINY]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)


def test_answers_are_taken_in_the_order_of_jobs(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    given = [Answer(number, f"job {number}: ", number % 3, "line") for number in (10, 9, 2)]
    for answer in given:
        away.leave(folder, answer)
    assert away.collect(folder) == given[::-1]
    assert away.collect(folder) == []
    assert not folder.exists()


def test_each_whole_line_of_a_job_has_its_name_and_no_bar_is_drawn() -> None:
    out = io.StringIO()
    with away.speaking("job 3", out):
        sys.stdout.write("a\nb")
        sys.stdout.write("c\n\nd")
        assert not sys.stdout.isatty()
    assert out.getvalue() == "job 3: a\njob 3: bc\njob 3: \njob 3: d\n"


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Interrupted)])
def test_a_sweep_that_stops_tells_the_jobs_on_its_machine_and_no_other(
    number: signal.Signals, raised: type[BaseException], tmp_path: Path
) -> None:
    code = (
        "import sys, signal; from pathlib import Path; from mtl_cli.cli import away; folder = Path(sys.argv[1])\n"
        "away.begin(folder, 0)\n"
        "try: print('begun', flush=True); signal.pause()\n"
        "except KeyboardInterrupt: away.leave(folder, away.Answer(0, 'job 0: ', 130, 'stopped'))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "x")], stdout=subprocess.PIPE) as job:
        try:
            assert job.stdout is not None
            assert job.stdout.readline() == b"begun\n"
            host, process = json.loads((tmp_path / "x" / "0.process").read_text())
            assert (host, process) == (socket.gethostname(), job.pid)
            assert os.getpgid(process) == process  # the terminal's Ctrl-C does not reach it
            (tmp_path / "x" / "1.process").write_text(json.dumps(["elsewhere", os.getpid()]))
            with pytest.raises(raised), away.stoppable(tmp_path / "x"):
                signal.raise_signal(number)
            job.wait(60)
        finally:
            job.kill()
    with pytest.raises(Interrupted):
        away.begin(tmp_path / "x", 2)
    assert away.collect(tmp_path / "x") == [Answer(0, "job 0: ", 130, "stopped")]


def test_a_job_whose_time_is_nearly_over_is_told_as_by_sigterm(tmp_path: Path) -> None:
    code = (
        "import sys, signal; from pathlib import Path; from mtl_cli.cli import away\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "away.begin(Path(sys.argv[1]), 0); signal.raise_signal(signal.SIGUSR2); sys.exit(1)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 7


@pytest.mark.parametrize(("launcher", "extra"), away.EXTRAS.items())
def test_a_launcher_that_is_not_installed_is_told_with_its_extra(launcher: str, extra: str) -> None:
    error = MissingConfigException("not there", f"hydra/launcher/{launcher}", ["basic"])
    call = Call("train", "train", parse(["-m", "hydra/launcher=mine"]), [])
    assert worded(error, call) == f"hydra/launcher=mine needs an extra: pip install 'mtl-cli[{extra}]'"


def test_a_launcher_without_a_sweep_is_a_mistake(mtl: Mtl) -> None:
    answer = mtl("train", "hydra/launcher=processes")
    assert (answer.code, answer.err) == (2, "mtl: hydra/launcher=processes has no effect on a single run: add -m\n")


@pytest.mark.parametrize(
    ("words", "plugin"),
    [
        ("hydra/launcher=processes hydra.launcher.n_jobs=3", "hydra_joblib_launcher"),
        ("hydra/launcher=local hydra.launcher.timeout_min=3", "hydra_submitit_launcher"),
        ("hydra/launcher=slurm hydra.launcher.partition=gpu", "hydra_submitit_launcher"),
    ],
)
def test_each_ready_launcher_composes_and_takes_its_keys(mtl: Mtl, words: str, plugin: str) -> None:
    pytest.importorskip(f"hydra_plugins.{plugin}")
    answer = mtl("train", "--cfg", "hydra", "-p", "hydra.launcher", *words.split())
    assert (answer.code, answer.err) == (0, "")
    key, _, value = words.rpartition(".")[2].partition("=")
    assert f"{key}: {value}\n" in answer.out
    assert f"_target_: hydra_plugins.{plugin}." in answer.out
    assert mtl("train", "--cfg", "hydra", *words.split(), "hydra.launcher.nothing=1").code == 2


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "plugin"), LAUNCHERS)
def test_each_job_has_its_own_run_and_a_failed_one_is_named(launcher: str, plugin: str, tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.{plugin}")
    words = ("backbone.hidden=[8],[9],[0]", "trainer.max_steps=1")
    with sweep(launcher, *words, cwd=tmp_path) as process:
        out, err = process.communicate()
    assert process.returncode == 1
    (folder,) = (tmp_path / "runs" / "digits").iterdir()
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "0",
        "1",
        "multirun.yaml",
    ]
    for number, hidden in enumerate("89"):
        assert json.loads((folder / str(number) / "status.json").read_text())["state"] == "done"
        assert f"hidden:\n  - {hidden}\n" in (folder / str(number) / "config.yaml").read_text()
        assert f"job {number} (backbone.hidden=[{hidden}] " in out
    assert err.count("\n") == 1
    assert err.startswith("mtl: job 2 (backbone.hidden=[0] ")
    assert err.endswith("backbone.hidden=[0] is not valid: expected list: whole number at least 1\n")
    assert list((tmp_path / "runs").iterdir()) == [folder.parent]


@pytest.mark.slow
def test_ctrl_c_lets_the_jobs_of_a_sweep_save_and_begins_no_other(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    with sweep("processes", "seed=0,1,2", "trainer.epochs=1000000", cwd=tmp_path) as process:
        assert process.stdout is not None
        training: set[str] = set()
        while len(training) < 2:  # both have judged an epoch
            line = process.stdout.readline()
            assert line
            training |= {line[:5]} if " 1/1" in line else set()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    (folder,) = (tmp_path / "runs" / "digits").iterdir()
    runs = sorted(path for path in folder.iterdir() if path.is_dir())
    assert [path.name for path in runs] == ["0", "1"]
    assert [json.loads((run / "status.json").read_text())["state"] for run in runs] == ["interrupted"] * 2
    assert [line.partition(" (")[0] for line in err.splitlines()] == ["mtl: job 0", "mtl: job 1", "mtl: interrupted"]
    assert list((tmp_path / "runs").iterdir()) == [folder.parent]
