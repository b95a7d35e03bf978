"""A run that probes goes on after an interruption as if there had been none, and is evaluated as it was trained."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from mtl_cli.__main__ import main
from mtl_cli.training import choices, probing
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


@pytest.mark.usefixtures("_channels_last_wins")
def test_an_epochs_checkpoint_is_evaluated_as_its_epoch_was(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(run) == 0
    assert main(["eval", f"checkpoint={run}/checkpoints/last", "eval.split=val"]) == 0
    (file,) = run.glob("eval/*-val.json")
    epoch = json.loads((run / "metrics.jsonl").read_text().splitlines()[-2])
    assert (epoch["event"], epoch["epoch"]) == ("epoch", 3)
    assert json.loads(file.read_text())["val"] == epoch["val"]


@pytest.mark.parametrize("words", [["trainer.deterministic=true"], ["trainer.memory_format=contiguous"]])
def test_a_run_that_is_to_repeat_itself_probes_nothing(tmp_path: Path, words: list[str]) -> None:
    assert train(tmp_path / "run", *words, "trainer.epochs=1") == 0
    assert "memory format" not in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.usefixtures("_channels_last_wins")
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
    assert decided(run) == {"memory_format": "channels_last"}


QUICK = ["backbone.channels=4", "trainer.memory_format=contiguous", "trainer.batch_size=8", "trainer.epochs=2"]
"""Two epochs of eight steps."""
Features = Callable[..., Any]


def breaking(backward: bool) -> Callable[[Features], Features]:
    """Stands in for torch.compile: its passes run, then fail as without a compiler, at once or on the way back."""

    def fail(_: torch.Tensor) -> None:
        raise TorchDynamoException("no compiler")

    def broken(features: Features) -> Features:
        def run(inputs: torch.Tensor, *arguments: Any) -> Any:
            found = features(inputs, *arguments)
            for its in found.values():
                its.vector.register_hook(fail) if backward else fail(its.vector)
            return found

        return run

    return broken


@pytest.mark.parametrize("backward", [False, True])
def test_a_compile_that_fails_is_a_note_and_the_run_goes_on_as_if_it_had_not_been_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backward: bool
) -> None:
    monkeypatch.setattr(choices, "PAYS", 0.0)
    monkeypatch.setattr(torch, "compile", breaking(backward))
    plain, auto = tmp_path / "plain", tmp_path / "auto"
    assert train(plain, *QUICK, "weighting=uw") == 0
    assert train(auto, *QUICK, "weighting=uw", "trainer.compile=auto") == 0
    assert [line for line in same(plain, auto) if "probes" not in line] == []
    assert decided(auto) == {"compile": "eager"}
    assert "compile: eager, as compiled does not work here" in (auto / "train.log").read_text()


def test_compiling_is_tried_where_enough_is_left_and_stays_where_it_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda features: tried.append("compiled") or features)
    assert train(tmp_path / "short", *QUICK, "trainer.compile=auto") == 0
    assert tried == []
    monkeypatch.setattr(choices, "PAYS", 0.0)
    monkeypatch.setattr(probing, "CLEARLY", 100.0)
    monkeypatch.setattr(probing, "comparable", lambda *_: {"eager": [2.0] * 3, "compiled": [1.0] * 3})
    assert train(tmp_path / "long", *QUICK, "trainer.compile=auto") == 0
    assert tried == ["compiled"]
    assert decided(tmp_path / "long") == {"compile": "compiled"}
    assert "compile: compiled, a step takes 0.50 of eager" in (tmp_path / "long" / "train.log").read_text()


def test_a_step_that_cannot_be_compiled_ends_the_run_in_one_line_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(torch, "compile", breaking(backward=True))
    assert train(run, *QUICK, "trainer.compile=true") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"go on without: mtl train resume={run} trainer.compile=false" in said
    assert main(["train", f"resume={run}", "trainer.compile=false"]) == 0
