"""The runs of every strategy: what is left to do, and a table whose figures are those that runs left."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import sharing
from bench.sharing import LONG, Job, jobs, measured, section, work
from mtl_cli.sharing.options import SHARINGS


def record(left: float, right: float, seconds: float | None = 60.0) -> dict[str, Any]:
    return {
        "test": {"left": left, "right": right}, "epoch": 1, "parameters": {"shared": 1234, "own": 56},
        "seconds": seconds, "commit": "c0ffee0123456", "torch": "9.9", "device": "cpu, 1 thread",
    }  # fmt: skip


def test_every_strategy_of_the_table_has_a_run() -> None:
    named = {job.name.partition(",")[0] for job in jobs()}
    assert named == set(SHARINGS)
    seeds = {(job.name, job.seed) for job in jobs() if job.epochs == 10}
    assert seeds == {(name, seed) for name in LONG for seed in (0, 1, 2)}


def test_what_has_a_record_is_not_run_again_and_each_is_kept_before_the_next() -> None:
    first, second, third = jobs()[:3]
    records = {second.key: record(0.5, 0.5)}
    kept: list[list[str]] = []

    def run(job: Job) -> dict[str, Any]:
        if job == third:
            raise KeyboardInterrupt
        return record(0.6, 0.6)

    with pytest.raises(KeyboardInterrupt):
        work([first, second, third], records, run, lambda: kept.append(list(records)))
    assert kept == [[second.key, first.key]]


def test_a_row_is_the_mean_of_its_seeds_with_the_smallest_and_largest_beside_single_task() -> None:
    records = {Job("multi_mnist", "independent", 10, s).key: record(0.9, 0.8) for s in (0, 1, 2)}
    for s, left in enumerate((0.91, 0.92, 0.96)):
        records[Job("multi_mnist", "mmoe", 10, s).key] = record(left, 0.8, seconds=None)
    lines = section(records).splitlines()
    assert "| independent | 90.00 (90.00 to 90.00) | 80.00 (80.00 to 80.00) | single-task | 1,234, 56 | 60 s |" in lines
    gain = "+1.50 (+0.50 to +3.00)"
    assert f"| mmoe | 93.00 (91.00 to 96.00) | 80.00 (80.00 to 80.00) | {gain} | 1,234, 56 |  |" in lines
    assert any("up to 2.5 points apart" in line for line in lines)  # mmoe's mean accuracy: 85.5 to 88


def test_a_gain_is_over_single_task_with_the_same_seed() -> None:
    records = {Job("multi_mnist", "independent", 3, s).key: record(0.8 + s / 10, 0.8) for s in (0, 1, 2)}
    records[Job("multi_mnist", "ltb", 3, 0).key] = record(0.81, 0.8)
    assert "| ltb | 81.00 | 80.00 | +0.50 | 1,234, 56 | 60 s |" in section(records)
    assert "and up to\n10.0 after three" in section(records)


def test_a_record_is_read_off_a_finished_run_of_the_same_words(tmp_path: Path) -> None:
    job = Job("multi_mnist", "tree", 3, 0)
    told = {"started": "2026-01-02T23:59:00+00:00", "updated": "2026-01-03T00:01:30+00:00", "state": "done"}
    (tmp_path / "status.json").write_text(json.dumps(told))
    env = {
        "command": ["mtl", "train", *job.words, "run_dir=x"],
        "git": "abc",
        "versions": {"torch": "9"},
        "device": "d",
    }
    (tmp_path / "env.json").write_text(json.dumps(env))
    final = {"event": "final", "epoch": 2, "test": {"left": {"accuracy": 0.7}, "right": {"accuracy": 0.6}}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(final) + "\n")
    (tmp_path / "report.md").write_text("- parameters: shared 5,330, left 16,060, right 16,061\n")
    found = measured(job, tmp_path)
    assert found["test"] == {"left": 0.7, "right": 0.6}
    assert found["parameters"] == {"shared": 5330, "own": 32121}
    assert found["seconds"] == 150
    with pytest.raises(SystemExit, match="should be a finished run of task=multi_mnist backbone=lenet sharing=tree"):
        measured(Job("multi_mnist", "tree", 3, 1), tmp_path)


def test_the_records_are_of_runs_that_are_planned() -> None:
    records = json.loads(sharing.RECORDS.read_text(encoding="utf-8"))
    assert set(records) <= {job.key for job in jobs()}
