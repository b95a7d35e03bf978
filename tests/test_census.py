"""The census task set: its rows, its tasks, and a page whose figures are those that runs left."""

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from bench.census import RECORDS, SEEDS, SHARINGS, TASKS, Job, page
from mtl_cli import saved, schema
from mtl_cli.__main__ import main
from mtl_cli.commands.build import build_data

ROOT = Path(__file__).parents[1]
MARGIN = 0.001


@pytest.fixture(scope="module")
def records() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORDS.read_text(encoding="utf-8"))
    return found


def test_the_page_is_written_from_the_records_and_from_nothing_else(records: dict[str, Any]) -> None:
    assert (ROOT / "docs" / "census.md").read_text(encoding="utf-8") == page(records)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("task", TASKS)
def test_what_was_measured_is_no_worse_than_logistic_regression(
    records: dict[str, Any], sharing: str, task: str
) -> None:
    ours = mean(records[Job(sharing, seed).name]["auroc"][task] for seed in SEEDS)
    assert ours >= records["logistic"]["auroc"][task] - MARGIN


def test_census_reads_every_row_and_makes_the_tasks_of_the_paper(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_DATA", str(real_data))
    words = ["trainer.max_steps=1", "data.limit=200", "device=cpu", "plots=false", "tensorboard=false"]
    assert main(["train", "task=census", f"run_dir={tmp_path / 'run'}", *words]) == 0
    raw = saved.load(tmp_path / "run")
    raw["data"]["limit"] = None
    data = build_data(schema.check(raw, []), heldout=False, known=None)
    counts = {split: len(parts["people"].inputs) for split, parts in data.splits.items() if parts}
    assert counts == {"train": 59_860, "val": 6_651, "test": 33_251}
    income, single = ([parts["people"].targets[task] for parts in data.splits.values() if parts] for task in TASKS)
    assert sum(int(target.sum()) for target in income) == 6_186  # rows that end in 50000+.
    assert sum(int(target.sum()) for target in single) == 43_143  # rows with "Never married"
    assert len(data.given.categories) == 32
    assert {"marital_status", "instance_weight"}.isdisjoint(data.known.preparations["people"].table.names)
