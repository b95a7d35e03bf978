"""Compiled training takes the steps of eager training; evaluation stays eager."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_cli.__main__ import main
from mtl_cli.commands import assemble
from mtl_cli.model import MultiTaskModel
from mtl_cli.options import ConfigError
from tests.training.test_engine import AtTrunk
from tests.training.toys import ROWS, furthest, make, make_data, make_model, make_tasks

ALL = slice(0, ROWS)
METHODS = {"plain": ("hard", "uw", "sum"), "rows": ("cross_stitch", "fixed", "pcgrad"), "trunk": ("hard", "dwa", "")}


def both_ends(methods: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights after three steps, one with a task inactive, eager and compiled."""
    sharing, weighting, aggregation = METHODS[methods]
    ends = []
    for compiled in (False, True):
        data = make_data()
        model = make_model(make_tasks(data), sharing)
        toy = make(data, model=model, weighting=weighting, aggregation=aggregation or AtTrunk())
        if compiled:
            model.compile_training()
        toy.engine.step([data.batch(ALL)], 0, 3)
        toy.engine.step([data.batch(slice(0, 9)), data.batch(slice(9, ROWS))], 1, 3)
        data.targets["odd"].fill_(torch.nan)
        toy.engine.step([data.batch(ALL)], 2, 3)
        ends.append(toy.parameters())
    return ends[0], ends[1]


@pytest.mark.parametrize("methods", list(METHODS))
def test_compiled_steps_are_the_eager_steps(methods: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    assert furthest(*both_ends(methods)) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("methods", list(METHODS))
def test_steps_compiled_to_machine_code_are_the_eager_steps(methods: str) -> None:
    assert furthest(*both_ends(methods)) < 1e-10


def test_evaluation_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: pytest.fail)
    data = make_data()
    model = make_model(make_tasks(data))
    model.compile_training()
    outputs = model.eval()(data.inputs, ["digit"], "p")
    assert outputs["digit"].shape == (ROWS, 4)


def test_what_cannot_be_compiled_is_said_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found\nmore")

    monkeypatch.setattr(MultiTaskModel, "compile_training", lambda self: setattr(self, "_in_training", broken))
    data = make_data()
    with pytest.raises(
        ConfigError, match=r"trainer.compile=true does not work here \(No working C\+\+ compiler found\)"
    ):
        assemble._compile(make_model(make_tasks(data)), {"p": data.inputs[:2]}, 4, None)


class Counted:
    """A compiler that compiles nothing, and counts what it was given."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        self.count += 1
        return graph.forward


@pytest.mark.parametrize("words", [[], ["trainer.precision=bf16"], ["aggregation=sdmgrad"]], ids=str)
def test_steps_find_their_pass_compiled_and_a_last_smaller_batch_has_it_compiled_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    torch.compiler.reset()
    counted = Counted()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counted))
    given = ["backbone=cnn", "backbone.channels=4", "data.limit=100", "trainer.batch_size=16", "trainer.epochs=2"]
    given += ["device=cpu", "plots=false", "trainer.compile=true", "trainer.memory_format=contiguous"]
    assert main(["train", *given, *words, f"run_dir={tmp_path}/run"]) == 0
    assert counted.count == (2 if words == ["aggregation=sdmgrad"] else 1)
