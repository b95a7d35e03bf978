"""The page of benchmarks: its figures are those that were measured, and a subject's rerun leaves the others alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import page, store, table
from bench.growth import PICTURE, slope
from bench.recipe import told_by
from bench.turns import Row, Series, Told, compare

CPU = Told(torch.device("cpu"), "wall", 1.0)
ROW = Row("step", "by hand", [0.9, 1.04, 1.2], 1.03, 61.0, "ms", 40)


def test_the_page_is_written_from_the_records_and_from_nothing_else() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(store.kept(), table.abouts())


def test_a_picture_is_drawn_of_what_grows() -> None:
    assert PICTURE.is_file() == bool(store.kept().get("growth"))


def test_a_median_above_what_is_wanted_is_bold_and_one_at_it_is_not() -> None:
    assert page.ratio(ROW) == "**1.040** (0.900 to 1.200)"
    assert page.ratio(ROW._replace(bar=1.04)) == "1.040 (0.900 to 1.200)"
    assert page.ratio(ROW._replace(bar=None)) == "1.040 (0.900 to 1.200)"


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RECORDS", tmp_path / "benchmarks.json")


@pytest.mark.usefixtures("records")
def test_a_rerun_replaces_the_rows_of_its_subject_and_no_others() -> None:
    first, again = ROW, ROW._replace(ratio=[0.5, 0.6, 0.7])
    grown = Series("tasks", "sum", [2, 4], [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], 1.0)
    store.keep("step", {"load": 1.0}, [first, first], 2.0)
    store.keep("growth", {"load": 2.0}, [grown], 3.0)
    store.keep("step", {"load": 4.0}, [again], 5.0)
    kept = store.kept()
    assert [Row(**row) for row in kept["step"]["rows"]] == [again]
    assert kept["step"]["facts"] == {"load": 4.0, "seconds": 5}
    assert [Series(**its) for its in kept["growth"]["series"]] == [grown]


@pytest.mark.usefixtures("records")
def test_a_gpu_s_figures_stand_beside_the_cpu_s(monkeypatch: pytest.MonkeyPatch) -> None:
    class Subject:
        ABOUT = "What it is."

        @staticmethod
        def measure(told: Told) -> list[Row]:
            return [ROW._replace(peer=str(told.device))]

    monkeypatch.setattr(store, "facts", lambda told: facts())
    for kind in ("cpu", "cuda"):
        table.run("step", Subject, CPU._replace(device=torch.device(kind)))
    assert list(store.kept()) == ["step", "step on cuda"]
    shown = page.page(store.kept(), {"step": Subject.ABOUT})
    assert shown.index("## Step\n") < shown.index("## Step on cuda\n")
    assert 'make bench DEVICE=cuda ARGS="--only step"' in shown


def facts() -> dict[str, Any]:
    named = {"device": "a machine", "torch": "9.9", "torchjd": "0", "date": "2026-01-02", "clock": "wall"}
    return {**named, "cores": 2, "threads": 2, "load": 0.1, "share": 1.0}


def test_the_slope_of_a_square_is_two_whatever_its_factor() -> None:
    assert slope([2, 4, 8, 64], [3 * n**2 for n in (2, 4, 8, 64)]) == pytest.approx(2)
    assert slope([2, 4, 8], [5.0, 5.0, 5.0]) == pytest.approx(0)


def test_a_turn_of_several_steps_is_one_ratio_and_its_time_is_told_by_the_step() -> None:
    now, given = [0.0], []

    def taking(seconds: float) -> Any:
        def step(number: int) -> None:
            given.append(number)
            now[0] += seconds

        return step

    ratios, each = compare(taking(3.0), taking(2.0), 2, lambda: now[0], turn=5)
    assert ratios == [1.5, 1.5]
    assert each == pytest.approx(2000.0)
    assert given[-5:] == [20, 21, 22, 23, 24]


def test_a_runs_clock_begins_where_the_pace_of_its_steps_says_and_tells_the_first_epoch_that_is_good_enough() -> None:
    steps = [(100.0, {"event": "step", "step": 40}), (102.0, {"event": "step", "step": 80})]
    epochs = [
        (when, {"event": "epoch", "val": {"object": {"accuracy": right}}})
        for when, right in ((103.0, 0.7), (107.0, 0.91), (111.0, 0.9))
    ]
    run = told_by([*steps, *epochs])
    assert run.seconds == [5.0, 9.0, 13.0]
    assert (run.to(0.7), run.to(0.85), run.to(0.92)) == (5.0, 9.0, None)
