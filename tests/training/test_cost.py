"""The header's line says what a step costs by what its methods need."""

import pytest

from mtl_cli.aggregation import base
from mtl_cli.aggregation.options import AGGREGATIONS
from mtl_cli.look import Look
from mtl_cli.training import cost
from mtl_cli.training.cost import Gauge, in_words
from tests.options import default
from tests.training.toys import ROWS, Toy, furthest, make, make_data

SHARED = (6 * 5 + 5 + 5 * 5 + 5) * 8  # bytes of the toy's trunk in float64


def toy(weighting: str = "fixed", aggregation: str = "sum", **told: object) -> tuple[Toy, str]:
    option = default(AGGREGATIONS, aggregation, **told)
    method = base.make(option, ["digit", "odd", "size"])
    made = make(make_data(), weighting=weighting, aggregation=method)
    return made, in_words(made.engine, option, accumulate=2 if weighting == "uw" else 1)


ROW = f"{SHARED / 2**10:.1f} KiB"


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({}, "1 backward pass a step"),
        ({"aggregation": "pcgrad"}, f"3 backward passes a step, one a task; rows 3 x {ROW}"),
        (
            {"aggregation": "pcgrad", "every": 5},
            f"1 backward pass a step; every 5 steps 3 backward passes, one a task; rows 3 x {ROW}",
        ),
        (
            {"aggregation": "pcgrad", "gradients": "bottleneck"},
            "3 short backward passes a step, one a task, then 1 through all",
        ),
        (
            {"aggregation": "db"},
            f"3 backward passes a step, one a task; rows 3 x {ROW}; state 3 x {ROW} = {3 * SHARED / 2**10:.1f} KiB",
        ),
        ({"aggregation": "sdmgrad"}, f"3 backward passes a step, one a task; rows 6 x {ROW}"),
        ({"probe_every": 9}, "1 backward pass a step; every 9 steps 3, one a task, to look at the gradients"),
        ({"weighting": "uw"}, f"3 backward passes a step, one a task; rows 3 x {ROW}"),
    ],
    ids=str,
)
def test_passes_rows_and_state_are_said(told: dict[str, object], line: str) -> None:
    assert toy(**told)[1] == line


def test_the_state_of_a_checkpoint_is_as_large_as_the_header_says() -> None:
    made, line = toy(aggregation="db")
    made.engine.step([make_data().batch(slice(0, ROWS))], 0, 1)
    state = made.engine.methods.aggregation.state_dict()
    held = sum(tensor.numel() * tensor.element_size() for key, tensor in state.items() if key.startswith("memory"))
    assert f"= {held / 2**10:.1f} KiB" in line


def test_measuring_tells_a_ratio_of_whole_steps_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(n) for n in range(1000))
    monkeypatch.setattr(cost, "now", lambda: next(clock))  # every part takes one second
    data, told = make_data(), []
    plain, measured = toy(aggregation="pcgrad")[0], toy(aggregation="pcgrad")[0]
    gauge = Gauge(measured.engine, told.append)
    batches = [data.batch(slice(0, ROWS))]
    for step in range(9):
        plain.engine.step(batches, step, 9)

        def take(step: int = step) -> Look:
            look = measured.engine.step(batches, step, 9)
            measured.engine.spent = 0.75  # so that a plain step takes 1 - 0.75 + 1 seconds
            return look

        gauge.timed(batches, take)
    assert told == ["a step takes 0.80 times one of the plain sum (median of 5)"]
    assert furthest(plain.parameters(), measured.parameters()) == 0


def test_a_plain_run_is_not_measured() -> None:
    told: list[str] = []
    gauge = Gauge(toy()[0].engine, told.append)
    assert gauge.timed([], lambda: "step") == "step"
    assert told == []
