"""A run that probes goes on after an interruption as if there had been none, and is evaluated as it was trained."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_cli.__main__ import main
from mtl_cli.training import probing
from mtl_cli.training.checkpoint import Store, digest, load_meta, load_training
from mtl_cli.training.engine import Engine
from tests.training.killing import Counter, same

WORDS = [
    "task=digits", "data.limit=80", "backbone.depth=2", "backbone.channels=32", "trainer.batch_size=16",
    "device=cpu", "device.threads=1", "plots=false", "tensorboard=false", "optimizer=sgd", "trainer.ema=0.5",
    "trainer.epochs=3", "optimizer.lr=0.005",
]  # fmt: skip
"""Three epochs of four steps."""
STILL = ["optimizer.lr=1e-7", "trainer.select=digit"]
"""Steps so small that no later epoch is better than the first."""


@pytest.fixture
def _channels_last_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a clock says."""
    monkeypatch.setattr(probing, "decide", lambda choice, taken, timings: choice.candidates[1] if taken == 8 else None)


def train(run: Path, *words: str) -> int:
    return main(["train", *WORDS, *words, f"run_dir={run}"])


def decided(run: Path, pointer: str = "last") -> Any:
    folder = Store(run).pointed(pointer)
    assert folder is not None
    return load_meta(folder)["decided"]


def formats(run: Path) -> set[bool]:
    """Whether the momenta of the last checkpoint lie with their channels innermost."""
    folder = Store(run).pointed("last")
    assert folder is not None
    state = load_training(folder, torch.device("cpu"))["optimizer"]["state"].values()
    maps = [entry["momentum_buffer"] for entry in state if entry["momentum_buffer"].dim() == 4]
    return {tensor.is_contiguous(memory_format=torch.channels_last) for tensor in maps if tensor.shape[1] > 1}


@pytest.mark.usefixtures("_channels_last_wins")
@pytest.mark.parametrize("stop", [3, 10])
def test_an_interruption_before_or_after_the_decision_changes_nothing_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(whole) == 0
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_move", Counter(stop, signal.SIGTERM).before(Engine._move))
        assert train(broken) == 143
    assert decided(broken) == ({"memory_format": "channels_last"} if stop > 8 else {})
    assert main(["train", f"resume={broken}"]) == 0
    assert decided(whole) == decided(broken) == {"memory_format": "channels_last"}
    assert formats(whole) == formats(broken) == {True}
    assert same(whole, broken) == []


@pytest.mark.usefixtures("_channels_last_wins")
@pytest.mark.parametrize(
    ("words", "best"), [(STILL, {}), ([], {"memory_format": "channels_last"})], ids=["before", "after"]
)
def test_the_best_checkpoint_is_evaluated_as_the_run_did_where_it_is_from_before_the_decision_or_after_it(
    tmp_path: Path, words: list[str], best: dict[str, str]
) -> None:
    run = tmp_path / "run"
    assert train(run, *words) == 0
    assert decided(run, "best") == best
    assert main(["eval", f"checkpoint={run}"]) == 0
    (file,) = run.glob("eval/*-test.json")
    final = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert json.loads(file.read_text())["test"] == final["test"]


@pytest.mark.parametrize("words", [["trainer.deterministic=true"], ["trainer.memory_format=contiguous"]])
def test_a_run_that_is_to_repeat_itself_probes_nothing(tmp_path: Path, words: list[str]) -> None:
    assert train(tmp_path / "run", *words, "trainer.epochs=1") == 0
    assert "memory format" not in (tmp_path / "run" / "train.log").read_text()


def test_a_checkpoint_from_before_there_was_probing_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_move", Counter(3, signal.SIGTERM).before(Engine._move))
        assert train(run) == 143
    newest = Store(run).newest()[0]
    assert newest is not None
    state, meta = load_training(newest, torch.device("cpu")), load_meta(newest)
    del state["probes"], meta["decided"]
    torch.save(state, newest / "training.pt")
    (newest / "meta.json").write_text(json.dumps(meta))
    names = ("config.yaml", "meta.json", "model.safetensors", "training.pt")
    (newest / "manifest.json").write_text(json.dumps({name: digest(newest / name) for name in names}))
    assert main(["train", f"resume={run}"]) == 0
    assert "memory format: " in (run / "train.log").read_text()
