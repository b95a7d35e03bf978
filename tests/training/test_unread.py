"""A step waits for the device no more than it must, and what is not finite is found all the same."""

import copy
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mtl_cli.__main__ import main
from mtl_cli.commands import assemble
from mtl_cli.tasks.classification import ClassificationTask
from mtl_cli.training import balanced, gradients
from mtl_cli.training.checkpoint import Store
from mtl_cli.training.engine import Engine, Settings, Skipped
from mtl_cli.training.graph import usage
from mtl_cli.training.later import Mark
from mtl_cli.training.progress import Totals
from mtl_cli.training.series import MOST
from tests.training.killing import TINY, same
from tests.training.toys import Toy, furthest, make, make_data, make_tasks

SETTINGS = Settings(0, 1.0, None, read_later=True)
RUN = [*TINY, "trainer.log_every=3", "trainer.save_every=null", "trainer.epochs=2"]


class Waits(TorchDispatchMode):
    """Counts the numbers that the host asks of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(named or {}))


def later(toy: Toy) -> Toy:
    """The same, without looking."""
    engine, data = toy.engine, make_data()
    used = usage(toy.model, {"p": data.inputs[:2]})
    return toy._replace(engine=Engine(toy.model, toy.tasks, engine.methods, engine.optimizer, used, SETTINGS))


@pytest.mark.parametrize("weighting", ["fixed", "uw", "dwa", "rlw", "imtl_l"])
def test_a_plain_step_asks_the_device_nothing_and_a_reading_once(weighting: str) -> None:
    data = make_data()
    toy, totals = later(make(data, weighting=weighting)), Totals(list(make_tasks(data)))
    batch = data.batch(slice(0, 12))
    for step in range(2):
        with Waits() as waits:
            totals.add(toy.step([batch], step))
        assert waits.count == 0
    with Waits() as waits:
        assert toy.engine.unread.read()
    assert waits.count == 1


@pytest.mark.parametrize("aggregation", ["upgrad", "pcgrad", "cagrad"])
def test_a_step_on_a_gramian_asks_no_more_than_that(aggregation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    toy, asked = later(make(data, aggregation=aggregation)), []
    for module, name in ((gradients, "found"), (balanced, "finite")):
        monkeypatch.setattr(module, name, lambda *_: asked.append(1))
    toy.step([data.batch(slice(0, 12))], 0)
    assert not asked
    assert toy.engine.unread.read()


@pytest.mark.parametrize("place", ["shared", "own"])
def test_what_a_gramian_tells_is_told_at_once_and_the_rest_later(place: str) -> None:
    data = make_data()
    toy = later(make(data, aggregation="upgrad"))
    head = toy.model.heads_by_task()["size"]
    if place == "shared":
        data.inputs[3] = torch.nan
        told = toy.engine.step([data.batch(slice(0, 12))], 0, 9)
        assert isinstance(told, Skipped)
        assert told.faults.losses == ("odd",)
        assert toy.engine.unread.read()
        return
    bias = head.get_parameter("layers.bias")
    bias.register_hook(lambda gradient: gradient * torch.nan)
    toy.step([data.batch(slice(0, 12))], 0)
    assert not toy.engine.unread.read()


def test_a_step_that_looks_asks_and_so_the_count_would_tell() -> None:
    data = make_data()
    toy, batch = make(data), data.batch(slice(0, 12))
    with Waits() as waits:
        toy.step([batch], 0)
    assert waits.count > 0


@pytest.mark.parametrize("weighting", ["fixed", "uw"])
@pytest.mark.parametrize("bad", ["input", "loss", "gradient"])
def test_what_was_not_finite_once_is_told_whatever_steps_come_before_it_is_read(weighting: str, bad: str) -> None:
    data = make_data(missing=False)
    toy = later(make(data, weighting=weighting))
    start = copy.deepcopy([toy.model.state_dict(), toy.engine.methods.weighting.state_dict()])
    bias = toy.model.heads_by_task()["size"].get_parameter("layers.bias")
    if bad == "input":
        data.inputs[3] = torch.nan
    elif bad == "loss":
        data.targets["size"][3] = 1e200  # its square is not finite, its gradient is
    else:
        hook = bias.register_hook(lambda gradient: gradient * torch.inf)
    toy.step([data.batch(slice(0, 12))], 0)
    if bad == "gradient":
        hook.remove()
    for step in range(1, MOST + 3):
        toy.step([data.batch(slice(12, 24))], step)
    assert not toy.engine.unread.read()
    for module, state in zip((toy.model, toy.engine.methods.weighting), start, strict=True):
        module.load_state_dict(state)
    toy.step([data.batch(slice(12, 24))], 1)
    assert toy.engine.unread.read()


@contextmanager
def unread(on: bool, bad: set[int]) -> Iterator[list[int]]:
    """Runs read later what is not finite, if `on`; a task's loss is so in the steps of those numbers."""
    taken: list[int] = []
    step, loss_sum = Engine.step, ClassificationTask.loss_sum

    def counted(self: Engine, batches: Any, number: int, *more: Any) -> Any:
        taken.append(number)
        return step(self, batches, number, *more)

    def broken(self: ClassificationTask, *given: Any) -> Any:
        lost = self.name == "digit" and torch.is_grad_enabled() and taken and taken[-1] in bad
        return loss_sum(self, *given) * (torch.nan if lost else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "waits", lambda device: on)
        patch.setattr(Engine, "step", counted)
        patch.setattr(ClassificationTask, "loss_sum", broken)
        yield taken


def trained(words: list[str], run: Path, on: bool, bad: set[int]) -> tuple[int, list[int]]:
    """A run in this process: its exit code, and the steps that it took, some of them again."""
    with unread(on, bad) as taken:
        return main(["train", *RUN, *words, f"run_dir={run}"]), taken


@pytest.mark.parametrize(
    ("words", "bad", "again"),
    [
        (["weighting=uw", "trainer.ema=0.9"], set(), []),
        (["trainer.on_nonfinite=skip_step", "weighting=dwa", "trainer.ema=0.9"], {1, 7}, [0, 1, 2, 6, 7, 8]),
        (["trainer.on_nonfinite=skip_task"], {4}, [3, 4]),
        (["trainer.on_nonfinite=skip_task", "aggregation.probe_every=4"], {3}, [3, 4]),
        (["trainer.on_nonfinite=skip_task", "aggregation=upgrad"], {4}, []),
    ],
    ids=["finite", "skip_step", "skip_task", "looks between", "looks at Gramians"],
)
def test_a_run_that_reads_later_ends_as_one_that_looks_at_each_step(
    tmp_path: Path, words: list[str], bad: set[int], again: list[int]
) -> None:
    one, other = tmp_path / "looks", tmp_path / "later"
    assert trained(words, one, on=False, bad=bad)[0] == 0
    code, taken = trained(words, other, on=True, bad=bad)
    assert code == 0
    assert same(one, other) == []
    assert sorted(step for step in set(taken) if taken.count(step) > 1) == again


def test_the_step_at_fault_is_named_and_nothing_of_it_is_saved(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = []
    for on in (False, True):
        assert trained([], tmp_path / str(on), on=on, bad={7})[0] == 1
        said.append(re.sub(r"\(?/\S+", "", capfd.readouterr().err))
    assert said[0] == said[1]
    assert "the loss of digit is not finite at step 8" in said[0]
    assert same(tmp_path / "False", tmp_path / "True") == []


def test_a_signal_saves_what_was_read_and_the_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    one, other = tmp_path / "whole", tmp_path / "stopped"
    assert trained(["trainer.on_nonfinite=skip_step"], one, on=True, bad={1})[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        move = Engine._move
        patch.setattr(
            Engine,
            "_move",
            lambda self, look: (look.step == 6 and os.kill(os.getpid(), signal.SIGTERM), move(self, look)),
        )
        assert trained(["trainer.on_nonfinite=skip_step"], other, on=True, bad={1})[0] == 143
    assert Store(other).newest()[0] == other / "checkpoints" / "step-00000007"
    with unread(on=True, bad={1}):
        assert main(["train", f"resume={other}"]) == 0
    assert same(one, other) == []


def test_a_run_goes_back_to_all_that_steps_move() -> None:
    data = make_data()
    toy = make(data, weighting="uw")
    toy.engine.optimizer.param_groups[0]["momentum"] = 0.9
    toy.step([data.batch(slice(0, 12))], 0)

    class Still:
        model, steps = toy.model, 3

        def goes_on(self, steps: int) -> None:
            assert steps == 3

    class Nowhere:
        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            assert state == {}

    mark = Mark(toy.engine, Still(), Nowhere())  # type: ignore[arg-type]  # all that it asks of them
    mark.take()
    ends = []
    for _ in range(2):
        toy.step([data.batch(slice(12, 24))], 1)
        ends.append(toy.parameters())
        mark.restore()
    assert furthest(*ends) == 0
    assert furthest(ends[0], toy.parameters()) > 0


def test_a_step_that_fails_leaves_what_the_steps_before_it_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    toy = later(make(data, weighting="cov"))
    for step in range(3):
        toy.step([data.batch(slice(0, 12))], step)
    before = copy.deepcopy(toy.engine.methods.weighting.state_dict())

    def broken(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(toy.engine.passes, "forward", broken)
    with pytest.raises(RuntimeError, match="no"):
        toy.step([data.batch(slice(0, 12))], 3)
    assert furthest(dict(before), dict(toy.engine.methods.weighting.state_dict())) == 0
    assert any(float(number) > 0 for number in before.values())
