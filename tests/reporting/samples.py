"""A run with any number of tasks, for the tests of this room."""

from pathlib import Path

from mtl_cli.reporting.records import (
    BestEpoch,
    Calibration,
    EpochRow,
    Header,
    LabelFacts,
    PartFacts,
    PictureFacts,
    Progress,
    Report,
    ResultRow,
    TaskEpoch,
    TaskFacts,
)

LONG = "an_attribute_with_a_name_that_goes_on_and_on_and_on_until_it_is_longer_than_any_line_"
METRICS = ("accuracy", "f1_macro", "rmse")


def names(count: int, long: bool) -> list[str]:
    return [f"{LONG if long else 'task'}{i}" for i in range(count)]


def metric(i: int) -> str:
    return METRICS[i % len(METRICS)]


def value(i: int) -> float:
    """Distinct, and as wide as metrics get."""
    return (10 if metric(i) == "rmse" else 0) + 0.9101 + i / 100


def header(tasks: list[str], run_dir: Path) -> Header:
    kinds = ("classification", "binary", "regression")
    return Header(
        command="train",
        task_set="sample",
        tasks=tuple(
            TaskFacts(n, kinds[i % 3], 10 - i, 1294 + i, metric(i), 1290 + i, False) for i, n in enumerate(tasks)
        ),
        parts=(PartFacts("images", 45000, 5000, 10000),),
        shared=93248,
        choices={
            "backbone": "cnn",
            "sharing": "hard",
            "weighting": "fixed",
            "aggregation": "sum",
            "optimizer": "adamw",
        },
        device="cpu, 2 threads",
        seed=11,
        data_seed=12,
        run_dir=run_dir,
        cost="3 backward passes a step, one a task; rows 3 x 364.2 KiB",
        epoch="12 steps; images 1,438 samples once",
    )


def progress() -> Progress:
    return Progress(3, 100, 4321, 35200, 1.2345, 12345.6, 4023)


def epoch(tasks: list[str], number: int, best: bool = False) -> EpochRow:
    rows = tuple(TaskEpoch(name, 10.1201 + i, metric(i), value(i)) for i, name in enumerate(tasks))
    return EpochRow(number, 100, rows, 0.8765, best)


def results(tasks: list[str]) -> list[ResultRow]:
    return [
        ResultRow(name, metric(i), True, split, value(i) + shift, 0.1234 + i / 100 + shift, 0.5005 + i / 100 + shift)
        for i, name in enumerate(tasks)
        for split, shift in (("val", 0), ("test", 0.005))
    ]


def report(tasks: list[str], run_dir: Path) -> Report:
    return Report(
        header=header(tasks, run_dir),
        overrides=("task=sample", "seed=11", "tasks.task0.head.hidden=[8, 4]"),
        epochs=20,
        select="mean",
        selected=17,
        results=tuple(results(tasks)),
        bests=tuple(BestEpoch(name, metric(i), 11 + i, 0.7001 + i / 100) for i, name in enumerate(tasks)),
        labels=tuple(
            LabelFacts(name, split, 1200 + i, 94 + i, {} if i == 2 else {"cat": 700 + i, "dog": 500}, 4.5, 2.25)
            for i, name in enumerate(tasks)
            for split in ("train", "val", "test")
        ),
        data={"images": "f00dfeed"},
        calibrations=tuple(
            Calibration(name, split, 0.0101 + i / 100 + shift)
            for i, name in enumerate(tasks)
            for split, shift in (("val", 0), ("test", 0.005))
            if i % 3 < 2
        ),
        pictures=(PictureFacts("curves", "Losses"), PictureFacts("confusion-task0", "task0, on test: classes")),
        learned=("a tree: left | right",),
    )
