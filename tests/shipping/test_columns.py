"""An export of a table takes its raw columns, and answers as the live model does of the same rows."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from mtl_cli.commands.divide import table_preparation
from mtl_cli.data.augment import prepare
from mtl_cli.data.base import MISSING, Column, Frame, Preparation
from mtl_cli.data.table.code import CategoryCode, Encoding, NumberCode
from mtl_cli.data.table.encoding import encode
from mtl_cli.options import JobError
from mtl_cli.shipping.base import Recipe
from mtl_cli.shipping.columns import Said, input_names, made_up
from mtl_cli.shipping.metadata import metadata
from mtl_cli.shipping.options import FORMATS
from mtl_cli.shipping.quiet import quiet
from mtl_cli.shipping.shipped import Shipped
from mtl_cli.shipping.verify import BATCHES, Live, compare, judge
from tests.options import NAMES, default
from tests.shipping.models import PARTS, PREPARATIONS, TABLE, live, shipped_of

QUOTED = "\"]: \\ {quo'ted}"


@pytest.fixture(scope="module")
def asked() -> Live:
    return live("hard", "mlp", table=TABLE)


@pytest.fixture(scope="module")
def shipped(asked: Live) -> Shipped:
    return shipped_of(asked, shape=(TABLE.width,))


def written(name: str, shipped: Shipped, file: Path) -> Path:
    option = default(FORMATS, name)
    made = FORMATS.target(option)(option, Recipe({}, lambda _: shipped))
    with quiet():
        made.write(shipped, metadata(shipped, {}, Said(made.words, {"job": ["?", "NA"]})), file)
    return file


@pytest.fixture(scope="module")
def files(shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of each format, as the docs name it; nobody writes into them."""
    folder = tmp_path_factory.mktemp("files")
    for name in FORMATS:
        (folder / name).mkdir()
    return {name: written(name, shipped, folder / name / f"model.{name}") for name in FORMATS}


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_file_answers_as_the_live_model_of_columns_of_every_sort(
    name: str, asked: Live, shipped: Shipped, files: dict[str, Path]
) -> None:
    option = default(FORMATS, name)
    made = FORMATS.target(option)(option, Recipe({}, lambda _: shipped))
    with quiet():
        judge(compare(asked, shipped, made.load(files[name])), made.tolerance)


def test_what_is_compared_has_empty_cells_unknown_words_and_numbers_far_off(shipped: Shipped) -> None:
    frame = made_up(TABLE, 400, torch.Generator().manual_seed(0))
    age, born, job = frame.numbers["age"], frame.dates["born on"], frame.categories["job"]
    assert all(0.1 < float(values.isnan().float().mean()) < 0.4 for values in (age, born))
    assert float(((age - 40) / 12.5).nan_to_num().abs().max()) > 1000
    assert 0.1 < float((job.values == MISSING).float().mean()) < 0.4
    assert job.classes is not None
    assert job.classes[-1] not in TABLE.categories[0].words
    assert {len(job.classes) - 1, MISSING} < set(job.values.tolist())
    assert frame.categories["keys"].classes == ("\N{REPLACEMENT CHARACTER}", "x y", "\N{REPLACEMENT CHARACTER}" * 2)
    for rows in BATCHES:
        again = shipped.example(rows)
        assert isinstance(again, Frame)
        assert len(again) == rows


def test_onnxruntime_is_fed_words_under_the_columns_names(
    asked: Live, shipped: Shipped, files: dict[str, Path]
) -> None:
    session = onnxruntime.InferenceSession(files["onnx"])
    assert [(given.name, given.type, given.shape) for given in session.get_inputs()] == [
        ("age", "tensor(double)", ["batch"]),
        ("Einkommen, netto (€)", "tensor(double)", ["batch"]),
        ("__: _ _quo_ted_", "tensor(double)", ["batch"]),
        ("huge", "tensor(double)", ["batch"]),
        ("keys.logits_", "tensor(double)", ["batch"]),
        ("born on", "tensor(double)", ["batch"]),
        ("since", "tensor(double)", ["batch"]),
        ("job", "tensor(string)", ["batch"]),
        ("keys", "tensor(string)", ["batch"]),
        ("never", "tensor(string)", ["batch"]),
    ]
    words = {
        "job": ["naïve ☃", "NA", 'a"b, c', "no such"],
        "keys": ["x y", "x  y", "", "\N{REPLACEMENT CHARACTER}"],
        "never": ["", "a", "b", "c"],
    }
    fed = {given.name: np.array([31.5, math.nan, -7e8, 2.5]) for given in session.get_inputs()}
    fed |= {name: np.array(said) for name, said in words.items()}
    (found,) = session.run(["type.logits"], fed)
    codes = {"job": [2, 4, 3, 0], "keys": [2, 0, 0, 1], "never": [0, 0, 0, 0]}
    inputs = {name: torch.from_numpy(value) if name not in codes else torch.tensor(codes[name])
              for name, value in fed.items()}  # fmt: skip
    with torch.no_grad():
        np.testing.assert_allclose(found, shipped(inputs)["type.logits"].numpy(), atol=1e-4)
    values = dict.fromkeys((code.name for code in TABLE.numbers), torch.from_numpy(fed["age"]))
    columns = {
        name: Column(torch.tensor([MISSING if word in ("", "NA") else i for i, word in enumerate(said)]), tuple(said))
        for name, said in words.items()
    }
    days = dict.fromkeys((code.name for code in TABLE.dates), torch.from_numpy(fed["age"]))
    expected = asked.answers(Frame(values, days, columns, 4), ["type"])["type.logits"]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_a_program_is_fed_codes_that_its_metadata_tells(shipped: Shipped, files: dict[str, Path]) -> None:
    program = torch.export.load(files["pt2"], extra_files=(extra := {"inputs": ""}))
    told = {column["column"]: column for column in json.loads(extra["inputs"])["columns"]}
    assert list(told) == list(TABLE.names)
    assert told["job"] == {
        "name": "job", "column": "job", "kind": "category", "dtype": "int64",
        "words": ["nurse", "naïve ☃", 'a"b, c'], "unknown": 0, "empty": 4, "empty_words": ["", "?", "NA"],
    }  # fmt: skip
    assert told["keys"]["empty"] == 0
    assert told[QUOTED]["name"] == "__: _ _quo_ted_"
    assert told["born on"] == {
        "name": "born on", "column": "born on", "kind": "date", "dtype": "float64",
        "unit": "days since 1970-01-01", "empty": "NaN",
    }  # fmt: skip
    example = shipped.given(shipped.example(5))
    assert isinstance(example, dict)
    torch.testing.assert_close(program.module()(example), shipped(example))


def test_a_row_is_encoded_as_in_training(shipped: Shipped) -> None:
    frame = shipped.example(7)
    assert isinstance(frame, Frame)
    assert torch.equal(shipped.encode(shipped.given(frame)), encode(frame, TABLE))
    assert torch.equal(prepare(encode(frame, TABLE), table_preparation(TABLE)), encode(frame, TABLE))


def test_names_are_the_columns_own_where_nothing_stands_against_it() -> None:
    columns = ("a b.c-ü (€)", "digit.value", "digit.value_", "", '"', "'")
    names = input_names(Encoding(tuple(NumberCode(name, 0.0, 1.0, False) for name in columns), (), ()), ["digit"])
    assert names == {
        "a b.c-ü (€)": "a b.c-ü (€)",
        "digit.value": "digit.value__",
        "digit.value_": "digit.value_",
        "": "_",
        '"': "__",
        "'": "___",
    }


def test_a_graph_whose_own_names_are_columns_is_renamed(tmp_path: Path) -> None:
    columns = ("cat", "linear", "val_0", "mtl column 0", "embedding", "isnan", "sub")
    table = Encoding(
        tuple(NumberCode(name, 1.0, 2.0, True) for name in columns), (), (CategoryCode("relu", ("a",), False),)
    )
    asked = live("hard", "mlp", table=table)
    shipped = shipped_of(asked, NAMES[:1], (table.width,))
    session = onnxruntime.InferenceSession(written("onnx", shipped, tmp_path / "file"))
    assert [given.name for given in session.get_inputs()] == [*columns, "relu"]
    example = shipped.given(shipped.example(3))
    assert isinstance(example, dict)
    fed: dict[str, object] = {name: values.numpy() for name, values in example.items()}
    fed["relu"] = np.array([["?", "a"][code] for code in example["relu"].tolist()])
    (found,) = session.run([f"{NAMES[0]}.logits"], fed)
    with torch.no_grad():
        np.testing.assert_allclose(found, shipped(example)[f"{NAMES[0]}.logits"].numpy(), atol=1e-4)


def test_a_table_beside_what_is_none_is_not_shipped_as_one(asked: Live) -> None:
    mixed = {"train": table_preparation(TABLE), "eval": _plain(TABLE.width)}
    assert list(PREPARATIONS) == list(mixed)
    with pytest.raises(JobError, match="train is a table and eval is not"):
        Shipped(asked.model, asked.tasks, mixed, (TABLE.width,))
    assert set(PARTS.values()) == set(mixed)


def test_the_script_of_the_docs_uses_a_table_without_mtl(files: dict[str, Path], tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "shipping.md").read_text()
    script = page.partition("```python use_table.py\n")[2].partition("```")[0]
    assert "mtl_cli" not in script
    (tmp_path / "use_table.py").write_text(script)
    command = [sys.executable, "-P", str(tmp_path / "use_table.py"), str(files["pt2"].parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    onnx, pt2 = (re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text) for text in done.stdout.removeprefix("onnx").split("pt2"))
    assert len(onnx) == 6  # two rows of three classes
    assert [float(number) for number in pt2] == pytest.approx([float(number) for number in onnx], abs=1e-4)


def _plain(width: int) -> Preparation:
    values: Tensor = torch.ones(width)
    return Preparation(tuple(values.tolist()), tuple(values.tolist()), crop=0, flip=False)


@pytest.mark.parametrize("name", ["pt2", "onnx"])
def test_a_transformer_over_columns_and_its_experts_ship_with_any_batch(name: str, tmp_path: Path) -> None:
    asked = live("mmoe", "ft_transformer", table=TABLE, experts=2)
    shipped = shipped_of(asked, shape=(TABLE.width,))
    file = written(name, shipped, tmp_path / "file.pt2")
    option = default(FORMATS, name)
    made = FORMATS.target(option)(option, Recipe({}, lambda _: shipped))
    with quiet():
        judge(compare(asked, shipped, made.load(file)), made.tolerance)
