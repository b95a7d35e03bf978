"""A command line in this process, with stubs for the jobs, in an empty folder."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from mtl_cli.__main__ import main
from mtl_cli.asked import MODULES
from mtl_cli.beneath import CONF
from mtl_cli.cli.jobs import COMPUTING
from mtl_cli.config import Config
from mtl_cli.schema import check
from mtl_cli.session import Session
from tests.cli.calls import Answer, Job, Mtl


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs started so far; every command that computes starts a stub, which notes them here."""
    started: list[Job] = []

    def run_train(config: Config, session: Session) -> None:
        started.append(Job(config, session))
        if session.job_dir is not None:
            (session.job_dir / "status.json").write_text("{}")

    def run_asked(config: Config, options: Any, checkpoint: Path, session: Session) -> None:
        started.append(Job(config, session, options, checkpoint))

    for name in (*COMPUTING.values(), *MODULES.values()):
        stub = ModuleType(name)
        vars(stub)["run"] = run_asked if name in MODULES.values() else run_train
        monkeypatch.setitem(sys.modules, name, stub)
    return started


@pytest.fixture
def mtl(here: Path, jobs: list[Job], capsys: pytest.CaptureFixture[str]) -> Mtl:
    """Runs one command line in this process."""

    def run(*words: str) -> Answer:
        jobs.clear()
        code = main(list(words))
        out, err = capsys.readouterr()
        return Answer(code, out, err, list(jobs))

    return run


@pytest.fixture(scope="session")
def config_text() -> str:
    """The resolved configuration that a run saves."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        composed = compose("train", ["task=digits", "backbone.channels=16", "seed=7"], return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    raw = OmegaConf.to_container(OmegaConf.masked_copy(composed, [k for k in composed if k != "hydra"]), resolve=True)
    HydraConfig.instance().cfg = None
    assert isinstance(raw, dict)
    return OmegaConf.to_yaml(OmegaConf.create(msgspec.to_builtins(check(raw, [CONF]))))


@pytest.fixture
def run_dir(config_text: str, here: Path) -> Path:
    """A run as training leaves it, without the weights: two checkpoints, the first of them the best."""
    folder = here / "a run=1"
    for step in ("step-1", "step-2"):
        checkpoint = folder / "checkpoints" / step
        checkpoint.mkdir(parents=True)
        (checkpoint / "config.yaml").write_text(config_text)
        (checkpoint / "manifest.json").write_text("{}")
    (folder / "config.yaml").write_text(config_text)
    (folder / "checkpoints" / "best").write_text("step-1\n")
    (folder / "checkpoints" / "last").write_text("step-2\n")
    return folder
