"""A task of tags beside others, from a table to rows of predictions."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from mtl_cli.__main__ import main

SMALL = ["device=cpu", "device.threads=1", "trainer.batch_size=16", "plots=false", "tensorboard=false"]
TABLE = """# @package _global_
# Houses.
defaults:
  - override /backbone: mlp
data:
  parts:
    houses: {{name: table, path: {path}, numbers: [a, b]{more}}}
tasks:
  made: {{kind: multilabel, target: made, separator: ";", none: plain}}
  price: {{kind: regression, target: price}}
trainer:
  epochs: 1
"""
STROKES = """# @package _global_
# What digits are made of.
data:
  parts:
    images: digits
tasks:
  strokes:
    kind: multilabel
    none: none
    target:
      from: digit
      map: {0: ring, 1: line, 2: "arc, line", 3: arc, 4: line, 5: "arc, line", 6: "ring, arc", 7: line, 8: ~, 9: none}
  parity:
    kind: binary
    target: {from: digit, map: {0: even, 1: odd, 2: even, 3: odd, 4: even, 5: odd, 6: even, 7: odd, 8: even, 9: odd}}
trainer:
  epochs: 1
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("conf/task").mkdir(parents=True)


def train(text: str, *words: str) -> int:
    Path("conf/task/mine.yaml").write_text(text)
    return main(["train", "task=mine", "--config-dir", "conf", "run_dir=run", *SMALL, *words])


def houses(rows: list[str], columns: str = "a,b,made,price", more: str = "") -> str:
    """The task set over a file of these rows."""
    Path("houses.csv").write_text("\n".join([columns, *rows]) + "\n")
    return TABLE.format(path=Path("houses.csv").absolute(), more=more)


def test_rows_of_tags_no_two_alike_are_divided_and_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    rows = []
    for i in range(120):
        tags = [f"tag {c}" for c in range(16) if draw.random() < 0.4]
        made = "" if i % 5 == 0 else "; ".join(tags) or "plain"
        rows.append(f"{draw.normal():.3f},{draw.normal():.3f},{made},{'' if i % 3 == 0 else i}")
    assert train(houses(rows)) == 0
    out = capsys.readouterr().out
    assert "task made: multilabel, 16 tags, " in out
    assert "data houses: train 86, val 10, test 24" in out
    assert "UserWarning" not in out
    report = Path("run/report.md").read_text()
    labelled = [line.split("|")[3:5] for line in report.splitlines() if line.startswith("| made | t")]
    assert sum(int(count) for count, _ in labelled) + 8 == 96
    assert sum(int(count) for _, count in labelled) + 2 == 24


def test_a_tag_that_train_never_has_is_told_with_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["1,2,a;b,3,train", "1,2,a,3,train", "2,1,b,4,train", "3,3,b;c,1,test"]
    assert train(houses(rows, "a,b,made,price,fold", ", split: fold")) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "row 4, column made: c is a tag of tasks.made that train never has: leave it out of test" in err
    assert not Path("run").exists()


def test_an_only_row_with_a_tag_stays_in_train_where_the_split_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        rows = [f"{i},{i % 3},{'a;b' if i % 2 else 'a'}{';rare' if i == 7 else ''},{i}" for i in range(30)]
        assert train(houses(rows), f"data.seed={seed}", f"run_dir=run{seed}", "data.validation=0.3") == 0
        report = Path(f"run{seed}/report.md").read_text()
        counted = [line for line in report.splitlines() if line.startswith("| made |")][-3:]
        assert ["rare 1" in line for line in counted] == [True, False, False]


def test_predicted_tags_are_those_above_one_half_in_the_exported_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(STROKES, "backbone.channels=4", "backbone.depth=2") == 0
    assert main(["export", "checkpoint=run", "export.format=onnx"]) == 0
    draw = np.random.default_rng(0)
    Path("pictures").mkdir()
    images = [f"pictures/{i}.png" for i in range(6)]
    for image in images:
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(image)
    capsys.readouterr()
    assert main(["predict", "checkpoint=run", "input=pictures", "device=cpu"]) == 0
    said = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    session = onnxruntime.InferenceSession("run/export/onnx/model.onnx")
    pixels = np.stack([np.asarray(Image.open(image), np.float32)[None] / 255 for image in images])
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, {"inputs": pixels}), strict=True))
    told = json.loads(session.get_modelmeta().custom_metadata_map["tasks"])["strokes"]
    assert (told["kind"], told["classes"]) == ("multilabel", ["arc", "line", "ring"])
    for row, probabilities in zip(said, answers["strokes.probabilities"], strict=True):
        tags = [tag for tag, p in zip(told["classes"], probabilities, strict=True) if p > 0.5]
        assert row["strokes"] == (",".join(tags) or "none")
        assert float(row["strokes.probability"]) == pytest.approx(
            np.maximum(probabilities, 1 - probabilities).prod(), 1e-3
        )
