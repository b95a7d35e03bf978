"""What an epoch's event says of the tasks' gradients: by hand, over resumes, and through the command line."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_cli.__main__ import main
from mtl_cli.contracts import At
from mtl_cli.look import Look
from mtl_cli.reporting.metric_log import read_events
from mtl_cli.training.conflicts import Conflicts
from mtl_cli.training.progress import Totals
from tests.training.killing import TINY

TASKS = ("keys", "type", "train")
KEYS, TYPE, TRAIN = TASKS
ROWS = {KEYS: [3.0, 4.0], TYPE: [0.0, 2.0], TRAIN: [-1.0, 0.0]}
"""Norms 5, 2 and 1; cosines .8 (keys, type), -.6 (keys, train) and 0."""


def look_at(
    rows: dict[str, list[float]], weights: list[float] | None = None, at: At = "shared", close: bool = True
) -> Look:
    """A step that was taken with those gradients."""
    ones_T = torch.ones(len(rows), dtype=torch.float64)
    look = Look(tuple(rows), ones_T, ones_T, 0, 0)
    rows_TP = torch.tensor(list(rows.values()), dtype=torch.float64)
    look.c_T = 7 * ones_T  # what the losses' own gradients were, no coefficient changes
    look.hold([rows_TP], None, ()) if at == "shared" else look.hold_at(at, rows_TP, lambda gramian_TT: gramian_TT)
    if weights is not None:
        look.weigh(torch.tensor(weights, dtype=torch.float64))
    if close:
        look.close()
    return look


def found(*looks: Look) -> dict[str, Any]:
    conflicts = Conflicts(TASKS)
    for look in looks:
        conflicts.add(look)
    return conflicts.event()


def test_one_look_by_hand() -> None:
    event = found(look_at(ROWS))
    assert (event["at"], event["looks"]) == ("shared", 1)
    assert event["norm"] == {KEYS: 5.0, TYPE: 2.0, TRAIN: 1.0}
    assert event["cosine"] == {
        KEYS: {KEYS: 1.0, TYPE: 0.8, TRAIN: pytest.approx(-0.6)},
        TYPE: {KEYS: 0.8, TYPE: 1.0, TRAIN: 0.0},
        TRAIN: {KEYS: pytest.approx(-0.6), TYPE: 0.0, TRAIN: 1.0},
    }
    magnitude = {(KEYS, TYPE): 2 * 10 / 29, (KEYS, TRAIN): 2 * 5 / 26, (TYPE, TRAIN): 2 * 2 / 5}
    assert {pair: event["magnitude"][pair[0]][pair[1]] for pair in magnitude} == pytest.approx(magnitude)
    assert [event["magnitude"][task][task] for task in TASKS] == [1.0, 1.0, 1.0]
    assert event["conflict"] == {
        KEYS: {KEYS: 0.0, TYPE: 0.0, TRAIN: 1.0},
        TYPE: {KEYS: 0.0, TYPE: 0.0, TRAIN: 0.0},
        TRAIN: {KEYS: 1.0, TYPE: 0.0, TRAIN: 0.0},
    }


def test_an_epoch_is_the_mean_over_its_looks() -> None:
    event = found(look_at(ROWS), look_at({**ROWS, TRAIN: [3.0, 0.0]}))
    assert event["looks"] == 2
    assert event["norm"] == {KEYS: 5.0, TYPE: 2.0, TRAIN: 2.0}
    assert event["cosine"][KEYS][TRAIN] == pytest.approx((-0.6 + 0.6) / 2)
    assert event["conflict"][TRAIN][KEYS] == 0.5


def test_a_step_without_a_task_says_nothing_about_it() -> None:
    event = found(look_at(ROWS), look_at({KEYS: [0.0, 1.0], TYPE: [0.0, -1.0]}))
    assert event["norm"] == {KEYS: 3.0, TYPE: 1.5, TRAIN: 1.0}
    assert event["cosine"][KEYS] == {KEYS: 1.0, TYPE: pytest.approx((0.8 - 1) / 2), TRAIN: pytest.approx(-0.6)}
    assert event["conflict"][KEYS] == {KEYS: 0.0, TYPE: 0.5, TRAIN: 1.0}


def test_two_tasks_that_never_met_have_no_cosine() -> None:
    event = found(look_at({KEYS: [1.0], TYPE: [1.0]}), look_at({TYPE: [1.0], TRAIN: [1.0]}))
    assert math.isnan(event["cosine"][KEYS][TRAIN])
    assert math.isnan(event["conflict"][TRAIN][KEYS])
    assert event["cosine"][TYPE] == {KEYS: 1.0, TYPE: 1.0, TRAIN: 1.0}


def test_a_gradient_of_nought_counts_among_the_norms_and_in_no_pair() -> None:
    nought = {**ROWS, TYPE: [0.0, 0.0]}
    event = found(look_at(nought), look_at(ROWS))
    assert event["norm"][TYPE] == 1.0
    assert event["cosine"][KEYS][TYPE] == 0.8
    assert set(found(look_at(nought))["cosine"]) == {KEYS, TRAIN}
    assert found(look_at(nought))["norm"] == {KEYS: 5.0, TYPE: 0.0, TRAIN: 1.0}


def test_only_the_most_exact_place_counts() -> None:
    elsewhere = {KEYS: [1.0, 0.0], TYPE: [1.0, 0.0], TRAIN: [1.0, 0.0]}
    trunk, last = look_at(elsewhere, at="trunk"), look_at(elsewhere, at="last_stage")
    assert found(trunk)["at"] == "trunk"
    assert found(trunk, last, trunk)["at"] == "last_stage"
    assert found(trunk, last, trunk)["looks"] == 1
    assert found(last, look_at(ROWS), trunk) == found(look_at(ROWS))


def test_without_a_look_or_a_weight_there_is_nothing() -> None:
    conflicts = Conflicts(TASKS)
    ones_T = torch.ones(3)
    conflicts.add(Look(TASKS, ones_T, ones_T, 0, 0))
    assert (conflicts.event(), conflicts.weights()) == ({}, {})


def test_weights_are_means_over_the_steps_that_gave_some() -> None:
    conflicts = Conflicts(TASKS)
    conflicts.add(look_at(ROWS, [1.0, 2.0, 3.0]))
    conflicts.add(look_at({KEYS: [1.0], TRAIN: [1.0]}, [0.0, 1.0]))
    conflicts.add(look_at(ROWS))
    assert conflicts.weights() == {KEYS: 0.5, TYPE: 2.0, TRAIN: 2.0}


def equal(first: Any, second: Any) -> bool:
    """To the last bit, whatever is nested in whatever."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    return torch.equal(first, second) if isinstance(first, Tensor) else bool(first == second)


def totals(*looks: Look) -> Totals:
    its = Totals(TASKS)
    go_on(its, *looks)
    return its


def go_on(its: Totals, *looks: Look) -> None:
    for look in looks:
        its.add(look)
    its.skip("overflow")
    its.leave_out((TYPE,))


def drawn(step: int) -> Look:
    draw = torch.Generator().manual_seed(step)
    tasks = TASKS[step % 2 :]
    rows = {task: torch.randn(4, generator=draw, dtype=torch.float64).tolist() for task in tasks}
    return look_at(rows, torch.rand(len(tasks), generator=draw).tolist())


def test_an_epoch_that_was_saved_in_its_middle_ends_to_the_last_bit_as_one_that_was_not(tmp_path: Path) -> None:
    whole = totals(*map(drawn, range(4)))
    torch.save(whole.state_dict(), tmp_path / "saved")
    again = totals(*map(drawn, range(9, 12)))  # has seen other things, which it forgets
    again.load_state_dict(torch.load(tmp_path / "saved", weights_only=True))
    for its in (whole, again):
        go_on(its, *map(drawn, range(4, 8)))
    assert equal(again.state_dict(), whole.state_dict())
    assert again.conflicts.event() == whole.conflicts.event()
    assert (again.skipped(), again.left_out()) == ({"overflow": 2}, {TYPE: 2})
    assert not equal(totals(*map(drawn, range(4))).state_dict(), whole.state_dict())


def test_an_epoch_begins_with_nothing() -> None:
    its = totals(*map(drawn, range(4)))
    its.clear()
    assert equal(its.state_dict(), Totals(TASKS).state_dict())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains two epochs with those words, once."""
    folder = tmp_path_factory.mktemp("runs")

    def trained(*words: str) -> Path:
        its = folder / ",".join(words)
        if not its.exists():
            assert main(["train", *TINY, "trainer.epochs=2", f"run_dir={its}", *words]) == 0
        return its

    return trained


def epochs(run: Path) -> list[dict[str, Any]]:
    """What each epoch's event tells of its training."""
    return [event["train"] for event in read_events(run / "metrics.jsonl") if event["event"] == "epoch"]


def test_a_plain_sum_tells_of_gradients_only_where_it_is_asked_to_look(run: Callable[..., Path]) -> None:
    plain, probed = epochs(run("aggregation=sum")), epochs(run("aggregation.probe_every=4"))
    assert [event["gradients"] for event in plain] == [{}, {}]
    assert [event["gradients"]["looks"] for event in probed] == [2, 1]  # at the steps 0 and 4, and 8, of 5 an epoch
    assert {*probed[0]["gradients"]["norm"]} == {"digit", "parity", "slant"}
    assert all(event["weights"] == {} for event in (*plain, *probed))
    for one, other in zip(plain, probed, strict=True):  # a look changes the numbers by rounding alone
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def numbers(event: dict[str, Any], key: str = "") -> dict[str, float | str]:
    """What lies beneath, under the keys that lead there."""
    below = [numbers(v, f"{key}/{k}") if isinstance(v, dict) else {f"{key}/{k}": v} for k, v in event.items()]
    return {k: v for found in below for k, v in found.items()}


def test_a_probe_sees_what_a_method_on_gradients_sees(run: Callable[..., Path]) -> None:
    (probed,) = epochs(run("aggregation.probe_every=7", "trainer.max_steps=1"))
    for method in ("pcgrad", "db"):
        (event,) = epochs(run(f"aggregation={method}", "trainer.max_steps=1"))
        assert numbers(event["gradients"]) == pytest.approx(numbers(probed["gradients"]), abs=1e-5)  # rows, or without


def test_weights_that_are_kept_count_in_every_step(run: Callable[..., Path]) -> None:
    kept = epochs(run("aggregation=pcgrad", "aggregation.every=5"))[0]
    (first,) = epochs(run("aggregation=pcgrad", "trainer.max_steps=1"))
    assert kept["gradients"]["looks"] == 1
    assert kept["weights"] == pytest.approx(first["weights"])  # five steps with the first one's
    assert kept["coefficients"] == pytest.approx(first["weights"])


def test_the_table_of_epochs_holds_each_tasks_weight(run: Callable[..., Path]) -> None:
    its = run("aggregation=pcgrad", "aggregation.every=5")
    event = epochs(its)[-1]
    lines = (its / "metrics.csv").read_text().splitlines()
    row = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    assert {task: float(row[f"{task}.weight"]) for task in event["weights"]} == event["weights"]
