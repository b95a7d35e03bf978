"""What sharing costs: a table of every strategy whose figures are those that were measured, against hard sharing."""

import json
from itertools import accumulate, repeat
from typing import Any

import pytest
import torch

from bench import cost
from bench.cost import BEGIN, END, PAGE, RECORDS, forward, make_batch, make_model, measure, page, sizes, table
from bench.step import make_tasks
from bench.turns import compare
from mtl_cli.sharing.options import SHARINGS

BACKBONE = 3072 * 256 + 256 + 256 * 256 + 256
HEAD = 256 * 10 + 10


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORDS.read_text(encoding="utf-8"))
    return found


def test_the_page_is_written_from_the_records_and_from_nothing_else(kept: dict[str, Any]) -> None:
    shown = PAGE.read_text(encoding="utf-8").partition(f"{BEGIN}\n")[2].partition(f"\n{END}")[0]
    assert shown == page(kept)


def test_every_strategy_was_measured_on_every_backbone_and_the_table_fits_80_columns(kept: dict[str, Any]) -> None:
    for found in kept["found"].values():
        assert list(found) == list(SHARINGS)
        assert {len(line) for line in table(found).splitlines()} == {77}


def test_a_ratio_is_of_a_pair_that_takes_turns_after_a_warm_up() -> None:
    now, order = [0.0], []

    def taking(name: str, seconds: float) -> Any:
        def step(number: int) -> None:
            order.append(name)
            now[0] += seconds if number >= 3 else 100 * seconds

        return step

    ratios, each = compare(taking("a", 3.0), taking("b", 2.0), 2, lambda: now[0])
    assert ratios == [1.5, 1.5]
    assert each == 2000.0
    assert order == list("baabbaabba")


@pytest.mark.parametrize(
    ("name", "shared", "own"), [("hard", BACKBONE, 3 * HEAD), ("independent", 0, 3 * (BACKBONE + HEAD))]
)
def test_sizes_are_what_several_tasks_use_and_what_one_alone_does(name: str, shared: int, own: int) -> None:
    tasks = make_tasks(3)
    batch = make_batch(tasks, 2, apart=False)
    assert sizes(make_model(name, "mlp", tasks, batch), batch) == {"shared": shared, "own": own}


def test_what_needs_a_data_set_a_task_is_measured_beside_hard_sharing_on_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[list[list[str]]] = []

    def spied(model: Any, batch: Any) -> Any:
        given.append([list(part.targets) for part in batch.parts])
        return forward(model, batch)

    monkeypatch.setattr(cost, "forward", spied)
    clock = accumulate(repeat(1.0))
    monkeypatch.setattr(cost.time, "process_time", lambda: next(clock))
    found = measure("adversarial", "mlp", 2, 2, pairs=2)
    measure("mmoe", "mlp", 2, 2, pairs=2)
    apart, together = [["task0"], ["task1"]], [["task0", "task1"]]
    assert given == [apart, apart, together, together]
    assert found["forward"] == found["step"] == [1.0, 1.0, 1.0]
    assert found["hard_ms"] == {"forward": 1000.0, "step": 1000.0}


def test_a_forward_pass_is_one_of_evaluation_for_every_task() -> None:
    tasks = make_tasks(2)
    batch = make_batch(tasks, 4, apart=False)
    model = make_model("hard", "cnn", tasks, batch).train()
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    heads = dict.fromkeys(tasks, 0)
    for task, head in model.heads_by_task().items():
        head.register_forward_hook(lambda module, given, output, task=task: heads.update({task: heads[task] + 1}))
    forward(model, batch)(0)
    assert heads == dict.fromkeys(tasks, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_buffers())
