"""`mtl predict` of a table: its rows in, a row of answers each, as evaluation has them; bad rows stop no other."""

import csv
import gzip
import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from omegaconf import OmegaConf

from mtl_cli.__main__ import main
from mtl_cli.commands import rebuild
from mtl_cli.commands.build import build_data, known_from
from mtl_cli.commands.restore import restore
from mtl_cli.data.augment import prepare
from mtl_cli.data.base import PartData
from mtl_cli.data.table import feed, given
from mtl_cli.schema import check
from mtl_cli.training import checkpoint

TASK = """\
# @package _global_
defaults:
  - override /backbone: mlp
data:
  parts:
    people:
      name: table
      path: people.csv
      split: part
      numbers: [age, wage]
      categories: [job title]
      dates: [born]
      rare: 2
      codes: {wage: ["-1"], job title: ["?"]}
tasks:
  income: {kind: binary, target: income}
  form: {kind: classification, target: form}
  happy: {kind: regression, target: happy}
trainer: {max_steps: 2, batch_size: 16, eval_batch_size: 7}
"""
HEADER = ["age", "wage", "job title", "born", "income", "form", "happy", "part"]
OUT = ["row", "income", "income.probability", "form", "form.probability", "happy"]


def cells(rows: int) -> Iterator[list[str]]:
    """Rows with empty cells, codes for them, rare and odd words, huge numbers and all sorts of dates."""
    draw = np.random.default_rng(0)
    for i in range(rows):
        yield [
            ["", " 31 ", "1e3", str(draw.integers(90)), "NaN"][draw.integers(5)],
            ["-1", "-1.0", "2500.5", "1e308", str(draw.integers(4000))][draw.integers(5)],
            ["nurse", "cook, chef", "naïve ☃", "?", "", f"only {i}"][draw.integers(6)],
            ["1970-01-01", "2024-02-29T13:30", "", "1911-12-13"][draw.integers(4)],
            ["low", "high"][draw.integers(2)],
            "abc"[draw.integers(3)],
            str(1000 + draw.normal()),
            "test" if i % 4 == 0 else "train",
        ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "conf" / "task").mkdir(parents=True)
    (folder / "conf" / "task" / "people.yaml").write_text(TASK, encoding="utf-8")
    with (folder / "people.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *cells(120)])
    words = ["device=cpu", "device.threads=1", "plots=false", "tensorboard=false", "backbone.hidden=[8]"]
    places = [f"data_dir={folder}", f"run_dir={folder}/run"]
    assert main(["train", "--config-dir", f"{folder}/conf", "task=people", *words, *places]) == 0
    return folder


@pytest.fixture(autouse=True)
def _there(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()


def predict(home: Path, *words: str) -> int:
    return main(["predict", f"checkpoint={home}/run", "device=cpu", "device.threads=1", *words])


def answered(home: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[dict[str, Any]]:
    assert predict(home, "predict.format=jsonl", *words) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def written(rows: list[list[str]], header: list[str] = HEADER, delimiter: str = ",") -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows([header, *rows])
    return stream.getvalue()


def test_rows_are_answered_as_evaluation_answers_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answered(home, capsys, f"input={home}/people.csv")
    assert [row["row"] for row in found] == list(range(1, 121))
    folder = home / "run" / "checkpoints" / (home / "run" / "checkpoints" / "best").read_text()
    raw = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    assert isinstance(raw, dict)
    config = check({str(key): value for key, value in raw.items()} | {"data_dir": str(home)}, [])
    restored = restore(config, folder)
    data = build_data(config, heldout=False, known=known_from(checkpoint.load_meta(folder)))
    part = data.splits["test"]["people"]
    assert isinstance(part, PartData)
    assert isinstance(part.inputs, torch.Tensor)
    assert len(part.inputs) == 30
    with torch.no_grad():
        outputs = restored.model(prepare(part.inputs, data.known.preparations["people"]), list(data.tasks), "people")
    for i, row in enumerate(found[::4]):
        for name, task in data.tasks.items():
            said = task.readout(outputs[name][i : i + 1])
            if name == "happy":
                assert row[name] == pytest.approx(float(said["value"]), rel=1e-6)
                continue
            expected = dict(zip(task.fitted.classes, said["probabilities"][0].tolist(), strict=True))
            assert row[f"{name}.probabilities"] == pytest.approx(expected, rel=1e-5, abs=1e-7)
            assert row[name] == max(expected, key=expected.__getitem__)


def test_rows_are_what_onnxruntime_says_of_the_raw_columns(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", f"checkpoint={home}/run", "export.format=onnx"]) == 0
    capsys.readouterr()
    rows = list(cells(40))
    Path("new.csv").write_text(written(rows), encoding="utf-8")
    found = answered(home, capsys, "input=new.csv")
    session = onnxruntime.InferenceSession(home / "run" / "export" / "onnx" / "model.onnx")
    days = {"1970-01-01": 0.0, "2024-02-29T13:30": 19782.5625, "": np.nan, "1911-12-13": -21204.0}
    fed = {
        "age": np.array([float(row[0] or "nan") for row in rows]),
        "wage": np.array([float("nan") if float(row[1]) == -1 else float(row[1]) for row in rows]),
        "job title": np.array([row[2] for row in rows]),
        "born": np.array([days[row[3]] for row in rows]),
    }
    (value,) = session.run(["happy.value"], fed)
    assert [row["happy"] for row in found] == pytest.approx(value.tolist(), rel=1e-4)


def test_a_table_of_any_kind_gives_the_same_rows(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(cells(30))
    Path("new.csv").write_text(written(rows), encoding="utf-8")
    expected = answered(home, capsys, "input=new.csv")
    assert len(expected) == 30
    named = [dict(zip(HEADER, row, strict=True)) for row in rows]
    lines = "".join(json.dumps(row) + "\n" for row in named)
    Path("new.tsv").write_text(written(rows, delimiter="\t"), encoding="utf-8")
    Path("other.txt").write_text(written(rows, delimiter=";"), encoding="utf-8")
    Path("new.csv.gz").write_bytes(gzip.compress(Path("new.csv").read_bytes()))
    Path("new.jsonl").write_text(lines, encoding="utf-8")
    pa.parquet.write_table(pa.Table.from_pylist(named), "new.parquet", row_group_size=11)
    for name in ("new.tsv", "other.txt", "new.csv.gz", "new.jsonl", "new.parquet"):
        assert answered(home, capsys, f"input={name}") == expected, name
    for content in (Path("new.csv").read_bytes(), lines.encode(), Path("new.csv.gz").read_bytes()):
        piped(monkeypatch, content)
        assert answered(home, capsys, "input=-") == expected
    moved = [[row[3], "extra", *row[:3]] for row in rows]
    Path("moved.csv").write_text(written(moved, ["born", "extra", *HEADER[:3]]), encoding="utf-8")
    found = answered(home, capsys, "input=moved.csv")
    assert found == expected


def test_csv_has_a_row_each_and_a_file_takes_its_place_at_the_end(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new.csv").write_text(written(list(cells(9))), encoding="utf-8")
    assert predict(home, "input=new.csv") == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == OUT
    assert [row["row"] for row in rows] == [str(i) for i in range(1, 10)]
    assert {row["income"] for row in rows} <= {"low", "high"}
    assert all(0.5 <= float(row["income.probability"]) <= 1 for row in rows)
    assert predict(home, "input=new.csv", "output=answers.csv") == 0
    assert Path("answers.csv").read_text() == out
    assert sorted(path.name for path in Path().iterdir()) == ["answers.csv", "new.csv"]
    assert capsys.readouterr().out == "written: answers.csv\n"


BAD = """\
age,wage,job title,born
1,2,nurse,2020-01-01
x,2,nurse,2020-01-01
1,2,nurse
1,2,nurse,2020-01-01

1,2,nurse,yesterday
1,,,
"""


def test_bad_rows_are_named_and_stop_no_other(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.csv").write_bytes(BAD.encode() + "1,2,caf\xe9,2020-01-01\n5,inf,nurse,\n7,7,nurse,\n".encode("latin-1"))
    assert predict(home, "input=bad.csv", "trainer.eval_batch_size=2") == 1
    out, err = capsys.readouterr()
    assert [line.partition(",")[0] for line in out.splitlines()] == ["row", "1", "4", "6", "9"]
    said = err.splitlines()
    assert [line.partition(":")[2].partition(":")[0].strip() for line in said[:-1]] == [
        "bad.csv, row 2, column age",
        "bad.csv, row 3",
        "bad.csv, row 5, column born",
        "bad.csv, row 7, column job title",
        "bad.csv, row 8, column wage",
    ]
    assert said[0].endswith("'x' is no number")
    assert said[1].endswith("it has 3 fields, the first line has 4. Found 1,2,nurse")
    assert said[-1] == "mtl: 5 of 9 rows could not be read"


def test_a_bad_row_ends_it_where_that_is_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.csv").write_text(BAD.replace("x,2", "3,2"), encoding="utf-8")
    assert predict(home, "input=bad.csv", "on_error=stop") == 1
    out, err = capsys.readouterr()
    assert [line.partition(",")[0] for line in out.splitlines()] == ["row", "1", "2"]
    assert err == "mtl: bad.csv, row 3: it has 3 fields, the first line has 4. Found 1,2,nurse\n"
    assert predict(home, "input=bad.csv", "on_error=stop", "output=answers.csv") == 1
    assert [path.name for path in Path().iterdir()] == ["bad.csv"]


def test_broken_json_is_a_bad_row(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"age": 1, "wage": 2.5, "job title": "nurse", "born": None, "more": "x"}
    lines = [json.dumps(good), "{", "[1]", "", json.dumps({**good, "age": None}), json.dumps({**good, "wage": "much"})]
    piped(monkeypatch, "\n".join([*lines, json.dumps({"age": 3})]).encode())
    found = answered(home, capsys, "input=-", code=1)
    assert [row["row"] for row in found] == [1, 4, 6]


def test_what_other_columns_hold_is_no_fault(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"age": 1, "wage": 2.5, "job title": "nurse", "born": None}
    piped(monkeypatch, "\n".join([json.dumps({**row, "more": {"a": [1]}}), json.dumps(row)]).encode())
    expected = answered(home, capsys, "input=-")
    assert len(expected) == 2
    Path("new.csv").write_bytes(b"more,age,wage,job title,born\ncaf\xe9,1,2.5,nurse,\nx,1,2.5,nurse,\n")
    assert answered(home, capsys, "input=new.csv") == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("age,wage,job,born\n1,2,a,\n", "new.csv has no column 'job title': did you mean job?"),
        ("", "new.csv is empty: it should have a header, and rows below it"),
        ("age,age,wage\n1,2,3\n", "new.csv has 2 columns named 'age': give each a name of its own"),
    ],
)
def test_what_is_no_table_is_one_line_before_anything_is_written(
    home: Path, content: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new.csv").write_text(content)
    for words in ([], ["output=answers.csv"]):
        assert predict(home, "input=new.csv", *words) == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"mtl: {says}\n")
    assert [path.name for path in Path().iterdir()] == ["new.csv"]


def test_a_folder_is_no_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(home, "input=.") == 2
    assert capsys.readouterr().err.startswith("mtl: input=. is a folder, but the model takes a table: name a CSV")


def test_a_table_without_a_row_is_answered_without_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.csv").write_text(",".join(HEADER) + "\n")
    assert predict(home, "input=new.csv") == 0
    assert capsys.readouterr().out == ",".join(OUT) + "\n"


def test_a_table_that_is_damaged_halfway_leaves_no_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = gzip.compress(written(list(cells(3000))).encode())
    Path("new.csv.gz").write_bytes(packed[: len(packed) // 2])
    assert predict(home, "input=new.csv.gz", "output=answers.csv") == 2
    assert capsys.readouterr().err.startswith("mtl: new.csv.gz is damaged, or no text file")
    assert [path.name for path in Path().iterdir()] == ["new.csv.gz"]


def test_what_is_ended_by_a_signal_leaves_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = given.encode

    def ended(*args: Any) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return encode(*args)

    monkeypatch.setattr(given, "encode", ended)
    Path("new.csv").write_text(written(list(cells(9))), encoding="utf-8")
    assert predict(home, "input=new.csv", "output=answers.csv") == 143
    assert [path.name for path in Path().iterdir()] == ["new.csv"]


class Endless(io.RawIOBase):
    """Rows that come down a pipe as they are asked for, and how many of them came."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.came = 0
        self._rest = b"age,wage,job title,born\n"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest and self.came < self.rows:
            self.came += 500
            self._rest = b"31,2500,nurse,2020-01-01\n" * 500
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def test_a_file_that_is_larger_than_memory_is_never_held_whole(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, most = 80_000, 20_000
    monkeypatch.setattr(given, "BLOCK", 1 << 13)
    monkeypatch.setattr(given, "PIECE", 1 << 14)
    monkeypatch.setattr(feed, "PIECE", 1 << 14)
    pipe = Endless(rows)
    ahead: list[int] = []

    class Out(io.StringIO):
        wrote = -1

        def write(self, line: str) -> int:
            Out.wrote += line.count("\n")
            ahead.append(pipe.came - Out.wrote)
            return len(line)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(pipe, 1 << 14)))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Out())
        assert predict(home, "input=-", "trainer.eval_batch_size=4000") == 0
    assert Out.wrote == pipe.came == rows
    assert max(ahead) < most


def test_a_reader_who_has_enough_is_no_failure(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    Path("new.csv").write_text(written(list(cells(30))), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        assert predict(home, "input=new.csv") == 141
    assert capsys.readouterr().err == ""


def test_weights_of_a_table_are_rebuilt_from_their_own_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("safetensors", "pt2"):
        assert main(["export", f"checkpoint={home}/run", f"export.format={name}"]) == 0
    capsys.readouterr()
    file = home / "run" / "export" / "safetensors" / "model.safetensors"
    shipped = rebuild.load(file)
    example = shipped.given(shipped.example(4))
    program = torch.export.load(home / "run" / "export" / "pt2" / "model.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(example), shipped(example))
    assert str(home).encode() not in file.read_bytes()
