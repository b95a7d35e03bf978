"""docs/own-data.md: every command of the tutorial is run, in its order, in one folder."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import pytest

from mtl_cli.__main__ import main
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "own-data.md"
SHORT = ["trainer.epochs=2", "plots=false", "tensorboard=false", "device.threads=1"]


def commands() -> list[list[str]]:
    """The words of each line, in their order."""
    text = "".join(block.text for block in blocks(PAGE) if block.language == "sh")
    return [shlex.split(line) for line in text.splitlines()]


def followed(folder: Path, more: list[str]) -> Path:
    """Types every line in the folder; the run that `RUN` stood for."""
    for words in commands():
        if words[0] == "cp":
            for name in words[1:-1]:
                shutil.copy(ROOT / name, folder)
            continue
        run = next(iter((folder / "runs" / "mine").glob("*-first")), Path("RUN"))
        typed = [word.replace("RUN", str(run)) for word in words[1:]]
        assert main([*typed, *(more if typed[0] == "train" else [])]) == 0, words
    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader begins, with runs where they go by default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTL_RUNS")
    monkeypatch.delenv("MTL_DATA")
    return tmp_path


def answers(folder: Path) -> list[dict[str, str]]:
    with (folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_tutorials_commands_lead_from_a_csv_to_predictions_and_an_export(folder: Path) -> None:
    run = followed(folder, SHORT)
    rows = answers(folder)
    assert [row["row"] for row in rows] == [str(i + 1) for i in range(8)]
    assert {row["quickly"] for row in rows} <= {"yes", "no"}
    assert {row["condition"] for row in rows} <= {"poor", "fair", "good"}
    assert all(0 < float(row["rent"]) < 5000 for row in rows)
    lines = [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["rent"] for line in lines] == [float(row["rent"]) for row in rows]
    assert sorted(path.name for path in (run / "export").iterdir()) == ["onnx", "pt2-rent"]


@pytest.mark.slow
def test_the_tutorial_as_it_stands_predicts_much_better_than_a_constant(folder: Path) -> None:
    run = followed(folder, ["device.threads=1"])
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    test = next(event for event in events if event["event"] == "final")["test"]
    assert test["rent"]["r2"] > 0.7
    assert test["condition"]["accuracy"] > 0.6
    assert test["quickly"]["auroc"] > 0.65
