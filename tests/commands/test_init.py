"""`mtl init` writes a task set that composes, checks and trains, or one line and nothing."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from mtl_cli.__main__ import main
from mtl_cli.beneath import CONF
from mtl_cli.config import Config
from mtl_cli.data.options import SOURCES, ImageFolder, TableFile
from mtl_cli.schema import check

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]
SMALL = ["trainer.max_steps=2", "trainer.batch_size=16", "device=cpu", "device.threads=1", "plots=false"]
PEOPLE = "id,age,city,wage,moved,since,tags\n" + "".join(
    f"{i},{20 + i % 50},{('Rom', 'Köln', 'Paris')[i % 3]},{'' if i % 4 == 0 else 1000.5 + 13 * i},"
    f'{("yes", "no", "")[i % 5 % 3]},20{i % 20:02d}-03-01,"{("red", "red, round", "round, blue")[i % 7 % 3]}"\n'
    for i in range(80)
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to stand in, with people.csv."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text(PEOPLE, encoding="utf-8")
    return tmp_path


def checked(out: Path) -> Config:
    """The configuration of a training run with that task set."""
    folders = [CONF, out.parent.parent]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        added = f"hydra.searchpath=['file://{folders[1]}']"
        composed = compose("train", [f"task={out.stem}", added, "device=cpu"], return_hydra_config=True)
    raw = {key: composed._get_node(key) for key in composed if key not in ("hydra", "task")}
    found = OmegaConf.to_container(OmegaConf.create({**raw, "task": out.stem}), resolve=True)
    assert isinstance(found, dict)
    return check({str(key): value for key, value in found.items()}, folders)


def test_columns_with_empty_cells_are_the_targets(here: Path, capsys: Capture) -> None:
    assert main(["init", "people.csv"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    assert "  task wage                       regression      20 missing (25.0 %)\n" in out
    assert "; 1 column left out\n" in out
    assert out.endswith("next:\n  mtl data --config-dir conf task=mine\n  mtl train --config-dir conf task=mine\n")
    config = checked(here / "conf/task/mine.yaml")
    assert {name: type(task).__name__ for name, task in config.tasks.items()} == {
        "wage": "Regression",
        "moved": "Binary",
    }
    part = config.data.parts["people"]
    assert isinstance(part, TableFile)
    assert (part.numbers, part.categories, part.dates) == (["age"], ["city", "tags"], ["since"])
    text = (here / "conf/task/mine.yaml").read_text(encoding="utf-8")
    assert "# - id                      # all 80 values are different: an identifier\n" in text
    assert "  # city: {kind: classification, target: city} # 3 words: " in text
    words = " ".join(text.replace("#", " ").split())
    assert "20 of 80 cells empty (25.0 %); guessed, as some of its cells are empty" in words


def test_targets_that_are_named_are_the_targets(here: Path) -> None:
    assert main(["init", "people.csv", "--targets", "tags, city,age", "--out=my/task/t.yaml"]) == 0
    config = checked(here / "my/task/t.yaml")
    assert {name: type(task).__name__ for name, task in config.tasks.items()} == {
        "tags": "Multilabel",
        "city": "Classification",
        "age": "Regression",
    }
    part = config.data.parts["people"]
    assert isinstance(part, TableFile)
    assert part.numbers == ["wage"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "init is missing its data: mtl init people.csv"),
        (["people.csv", "more.csv"], "people.csv more.csv are several: name one file (targets: --targets a,b)"),
        (["people.csv", "--target", "x"], "--target is not an option of mtl init: did you mean --targets?"),
        (["people.csv", "--targets"], "--targets is missing its value: the columns to predict, with commas between"),
        (["people.csv", "--targets", "wgae"], "--targets: people.csv has no column 'wgae': did you mean wage?"),
        (["people.csv", "--targets", "since"], "--targets: people.csv, column since: dates "),
        (
            ["people.csv", "--out", "mine.yaml"],
            "--out mine.yaml would not be found: name a YAML in a folder named task",
        ),
        (["people.csv", "--out", "conf/task/digits.yaml"], "--out conf/task/digits.yaml has the name of a task set"),
        (["people.csv", "--out", "conf/task/a b.yaml"], "--out conf/task/a b.yaml cannot be chosen by task=a b"),
        (["poeple.csv"], "poeple.csv cannot be read: No such file or directory\n"),
        (["empty.csv"], "empty.csv is empty: it should have a header, and rows below it"),
        (["header.csv"], "header.csv has no row"),
        (["odd.csv"], "odd.csv, row 2: it has 3 fields"),
        (["twice.csv"], "twice.csv has 2 columns named 'a'"),
        (["broken.parquet"], "broken.parquet is damaged"),
        (["broken.jsonl"], "broken.jsonl, row 2: "),
        (["one.csv"], "one.csv has no column "),
    ],
)
def test_a_mistake_is_one_line_with_2_and_nothing_is_written(
    here: Path, capsys: Capture, words: list[str], line: str
) -> None:
    for name, content in {
        "empty.csv": "", "header.csv": "a,b\n", "odd.csv": "a,b\n1,2\n1,2,3\n", "twice.csv": "a,a\n1,2\n",
        "broken.parquet": "PAR1", "broken.jsonl": '{"a": 1}\n{"a": \n', "one.csv": "a\n1\n1\n",
    }.items():  # fmt: skip
        (here / name).write_text(content)
    before = sorted(here.rglob("*"))
    code = main(["init", *words])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith(f"mtl: {line}")
    assert err.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_a_file_that_is_there_is_not_overwritten(here: Path, capsys: Capture) -> None:
    assert main(["init", "people.csv"]) == 0
    before = (here / "conf/task/mine.yaml").read_bytes()
    assert main(["init", "people.csv", "--targets", "age"]) == 2
    assert "conf/task/mine.yaml is there: name another one" in capsys.readouterr().err
    assert (here / "conf/task/mine.yaml").read_bytes() == before


def test_a_path_below_the_data_folder_is_said_from_there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_DATA", str(here))
    assert main(["init", "people.csv"]) == 0
    assert 'path: "people.csv"' in (here / "conf/task/mine.yaml").read_text(encoding="utf-8")
    monkeypatch.setenv("MTL_DATA", str(here / "elsewhere"))
    assert main(["init", "people.csv", "--out", "conf/task/far.yaml"]) == 0
    assert f'path: "{here}/people.csv"' in (here / "conf/task/far.yaml").read_text(encoding="utf-8")


def semicolons(here: Path) -> Path:
    path = here / "häuser 1.csv"
    rows = [f"{'Süd' if i % 2 else 'Nord'};{i * 3.5};{'' if i % 3 else i % 2};-1;no" for i in range(60)]
    path.write_text("\n".join(["Lage;m²;verkauft?;mean;no", *rows]), encoding="cp1252")
    return path


def lines(here: Path) -> Path:
    path = here / "rows.jsonl"
    rows = [{"a": i, "b": i % 2 == 0, "c": None if i % 3 else f"w{i % 4}", "on: a #b": i % 5} for i in range(60)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def parquet(here: Path) -> Path:
    path = here / "rows.parquet"
    columns = {"x": [i * 0.5 for i in range(60)], "keys": [i % 3 for i in range(60)], "y": ["a", None, "b"] * 20}
    pa.parquet.write_table(pa.table({**columns, "nested": [[i] for i in range(60)]}), path)
    return path


@pytest.mark.parametrize("made", [semicolons, lines, parquet, lambda here: here / "people.csv"])
def test_what_is_written_trains(here: Path, made, capsys: Capture) -> None:
    assert main(["init", str(made(here))]) == 0
    assert main(["train", "--config-dir", "conf", "task=mine", *SMALL, "run_dir=run"]) == 0, capsys.readouterr().err
    assert json.loads((here / "run" / "status.json").read_text())["step"] == 2


def photographs(here: Path, *places: str, sizes: tuple[tuple[int, int], ...] = ((8, 8),), mode: str = "RGB") -> None:
    draws = np.random.default_rng(0)
    for place in places:
        (here / place).mkdir(parents=True)
        for k in range(6):
            width, height = sizes[k % len(sizes)]
            pixels = draws.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).convert(mode).save(here / place / f"{k}.png")


def test_a_folder_of_classes_becomes_a_task_set_that_trains(here: Path, capsys: Capture) -> None:
    sizes = ((40, 30), (90, 100), (64, 48))
    photographs(here, *(f"pets/{split}/{its}" for split in ("train", "test") for its in ("a cat", "dog")), sizes=sizes)
    assert main(["init", "pets"]) == 0
    assert "pets: 2 classes; images: train 12, test 12\n" in capsys.readouterr().out
    text = (here / "conf/task/mine.yaml").read_text()
    assert "      size: 32                    # sizes: 40x30 to 90x100\n" in text
    assert "  label:                          # 2 classes: a cat 50.0 %, dog 50.0 %\n    kind: binary\n" in text
    assert main(["train", "--config-dir", "conf", "task=mine", *SMALL, "run_dir=run"]) == 0, capsys.readouterr().err


def test_folders_of_classes_alone_become_a_task_set_that_trains(here: Path, capsys: Capture) -> None:
    photographs(here, "all/a", "all/b", "all/c")
    assert main(["init", "all", "--out", "conf/task/all.yaml"]) == 0
    assert "# all: 18 images, of which a share is kept for test.\n" in (here / "conf/task/all.yaml").read_text()
    assert main(["train", "--config-dir", "conf", "task=all", *SMALL, "run_dir=run"]) == 0, capsys.readouterr().err


def test_grey_images_of_one_size_are_left_as_they_are(here: Path) -> None:
    photographs(here, "d/train/a", "d/train/b", "d/train/c", "d/test/a", mode="L")
    assert main(["init", "d"]) == 0
    config = checked(here / "conf/task/mine.yaml")
    part = config.data.parts["d"]
    assert isinstance(part, ImageFolder)
    assert (part.size, part.colour, type(config.tasks["label"]).__name__) == (None, False, "Classification")


MANIFEST = "file,kind,age,tags\n" + "".join(
    f'{name}/{k}.png,{name if k else ""},{k}.5,"{("red", "red, round", "round")[k % 3]}"\n'
    for name in "abc"
    for k in range(6)
)


@pytest.mark.parametrize(("data", "beside"), [("set", "set"), ("set/labels.csv", "set"), ("set", "set/images")])
def test_images_that_a_table_names_are_found_beside_it(here: Path, capsys: Capture, data: str, beside: str) -> None:
    photographs(here, *(f"{beside}/{name}" for name in "abc"))
    (here / "set" / "labels.csv").write_text(MANIFEST)
    assert main(["init", data]) == 0
    assert (
        "labels.csv: 18 images\n  task kind                       classification  3 missing" in capsys.readouterr().out
    )
    text = (here / "conf/task/mine.yaml").read_text()
    assert f'      path: "{here}/{beside}"\n      labels: "{here}/set/labels.csv"\n      column: file ' in text
    assert "  # tags: {kind: multilabel, target: tags} # lists of 2 tags" in text
    if "image_table" in SOURCES:
        task = checked(here / "conf/task/mine.yaml").tasks
        assert list(task) == ["kind"]


@pytest.mark.skipif("image_table" not in SOURCES, reason="needs the source")
def test_images_that_a_table_names_train(here: Path, capsys: Capture) -> None:
    photographs(here, *(f"set/{name}" for name in "abc"), sizes=((8, 8), (12, 9)))
    (here / "set" / "labels.csv").write_text(MANIFEST)
    assert main(["init", "set", "--targets", "kind,age,tags"]) == 0
    words = ["--config-dir", "conf", "task=mine"]
    assert main(["data", *words]) == 0, capsys.readouterr()
    assert main(["train", *words, *SMALL, "run_dir=run"]) == 0, capsys.readouterr().err


def test_a_folder_with_several_tables_asks_for_one_of_them(here: Path, capsys: Capture) -> None:
    photographs(here, "set/a")
    for name in ("one.csv", "two.csv"):
        (here / "set" / name).write_text("file\na/0.png\n")
    assert main(["init", "set"]) == 2
    assert "set holds several tables (one.csv, two.csv): name one: mtl init set/one.csv" in capsys.readouterr().err


def test_a_folder_that_is_no_data_set_is_one_line(here: Path, capsys: Capture) -> None:
    photographs(here, "one/train/a", "one/test/a")
    photographs(here, "odd/train/a", "odd/train/b", "odd/test/c")
    (here / "none").mkdir()
    for name in ("one", "odd", "none"):
        assert main(["init", name]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
    assert main(["init", "odd", "--targets", "a"]) == 2
    assert not (here / "conf").exists()


def test_the_census_without_a_header_gets_names_for_its_columns(real_data: Path, here: Path) -> None:
    path = real_data / "census_income" / "census-income.test.gz"
    if not path.is_file():
        pytest.skip("needs the census")
    assert main(["init", str(path), "--targets", "column42,column8"]) == 0
    part = checked(here / "conf/task/mine.yaml").data.parts["census-income"]
    assert isinstance(part, TableFile)
    assert part.columns == [f"column{i}" for i in range(1, 43)]
    assert part.codes["column26"] == ["?"]


def test_init_loads_no_torch_and_no_hydra(here: Path) -> None:
    code = (
        "import sys; from mtl_cli.__main__ import main; code = main(['init', 'people.csv']);"
        "print({name.partition('.')[0] for name in sys.modules} & {'torch', 'hydra', 'sklearn', 'matplotlib'}, code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here,
                          env={"PYTHONPATH": str(ROOT), "PATH": ""})  # fmt: skip
    assert done.stdout.endswith("\nset() 0\n")


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8) | st.sampled_from(
    ["no", "mean", "a: b", "${x}", "train", "1", "- a", "keys", 'q"', "a,b"]
)
cells = st.sampled_from(
    ["", "NA", "0", "1", "2", "-3.5", "yes", "no", "a, b", "a", "?", "é", "2024-01-01", 'q"', "1e400"]
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.lists(names, min_size=1, max_size=5), st.integers(0, 30), st.sampled_from(",;\t|"))
def test_a_random_table_gives_a_task_set_that_checks_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, capsys: Capture, data, header, count, delimiter
) -> None:
    folder = tmp_path_factory.mktemp("t")
    pools = [data.draw(st.lists(cells, min_size=1, max_size=6)) for _ in header]
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows([[pool[i * 7 % len(pool)] for pool in pools] for i in range(count)])
    out = folder / "my" / "task" / "t.yaml"
    code = main(["init", str(folder / "t.csv"), "--out", str(out)])
    err = capsys.readouterr().err
    if code:
        assert (code, err.count("\n"), out.exists()) == (2, 1, False)
        assert err.startswith("mtl: ")
        return
    config = checked(out)
    if count % 3 == 0:  # not each, as it takes a while
        assert main(["data", "--config-dir", str(folder / "my"), "task=t", "plots=false"]) in (0, 1)
        assert "failed:" not in capsys.readouterr().err
    part = next(iter(config.data.parts.values()))
    assert isinstance(part, TableFile)
    known = {name.strip() for name in header} | set(part.columns or ())
    targets = [task.target for task in config.tasks.values()]
    used = [*part.numbers, *part.categories, *part.dates, *targets]
    assert set(used) <= known
    assert len(used) == len(set(used))
