"""`mtl data` says what a data set holds, finds what is planted in it, draws it, and leaves the right exit code."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtl_cli.__main__ import main
from mtl_cli.reporting.inspection import WIDTH

PETS = """\
# @package _global_
# Cats and dogs.
data:
  parts:
    photos: {{name: image_folder, path: pets, size: null, colour: true}}
tasks:
  species: {{kind: classification, target: label}}
  barks: {{kind: {kind}, target: {{from: label, map: {{cat: {cat}, dog: {dog}}}}}}}
"""
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 12 images of train and 4 of test, each of its own, below `data`; stands in it."""
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / "pets" / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                Image.fromarray(draws.integers(0, 256, (6, 6, 3), np.uint8)).save(folder / f"{k}.png")
    task_set(tmp_path)
    return tmp_path


def task_set(here: Path, kind: str = "binary", cat: str = "quiet", dog: str = "loud") -> None:
    (here / "my" / "task").mkdir(parents=True, exist_ok=True)
    (here / "my" / "task" / "pets.yaml").write_text(PETS.format(kind=kind, cat=cat, dog=dog))


def look(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = main(["data", "task=pets", "--config-dir", "my", "data.validation=0.25", *words])
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if not line.startswith(("decoding", "image_folder: "))]
    lines = [line for line in lines if str(Path.cwd()) not in line]  # a path is as long as it is
    assert max(map(len, lines), default=0) <= WIDTH
    assert "Traceback" not in err
    return code, out, err


def test_a_sound_data_set_is_counted_drawn_and_left_with_0(here: Path, capsys: Capture) -> None:
    code, out, err = look(capsys)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["rows", "9", "3", "4"] in lines
    assert ["barks", "9", "3", "4", "0", "0.0", "%"] in lines
    assert [sum(line[:1] == [name] for line in lines) for name in ("quiet", "loud", "cat", "dog")] == [1, 1, 1, 1]
    assert ["species", "16", "16"] in lines
    assert out.endswith("picture: runs/pets/data/photos.png\nnothing odd was found\n")
    assert Image.open(here / "runs" / "pets" / "data" / "photos.png").size[0] > 500


def test_missing_labels_show_in_counts_and_overlap(here: Path, capsys: Capture) -> None:
    task_set(here, "classification", cat="null", dog="loud")
    code, out, _ = look(capsys, "plots=false")
    lines = [line.split() for line in out.splitlines()]
    assert ["barks", "8", "8"] in lines
    assert next(line for line in lines if line[:1] == ["barks"])[-3:] == ["8", "50.0", "%"]
    assert code == 1
    assert not (here / "runs").exists()


def test_a_constant_target_and_an_image_in_train_and_test_are_errors_with_1(here: Path, capsys: Capture) -> None:
    task_set(here, "regression", cat="1", dog="1")
    first, second = here / "data/pets/train/dog/3.png", here / "data/pets/test/cat/1.png"
    second.write_bytes(first.read_bytes())
    code, out, err = look(capsys)
    assert code == 1
    assert "  task barks is constant: every label in train is 1\n" in out
    assert "in test (25.0 %)\n" in out
    assert err == "mtl: pets: 2 errors, 1 warning\n"


def test_a_source_that_refuses_is_a_finding_and_the_other_parts_are_looked_at(here: Path, capsys: Capture) -> None:
    (here / "data/pets/train/dog/3.png").write_bytes(b"\x89PNG but not really")
    digits = ["+data.parts.small=digits", "tasks.species.part=photos", "tasks.barks.part=photos"]
    tasks = ["+tasks.digit={kind: classification, target: digit, part: small}"]
    code, out, err = look(capsys, *digits, *tasks)
    assert (code, err) == (1, "mtl: pets: 1 error, 0 warnings\n")
    assert "dog/3.png cannot be read as an image" in " ".join(out.split())
    assert "part small: 1,797 images of 8x8, grey" in out


def test_images_that_stay_in_files_are_looked_at_all_the_same(here: Path, capsys: Capture) -> None:
    (here / "data/pets/test/cat/1.png").write_bytes((here / "data/pets/train/dog/3.png").read_bytes())
    code, out, err = look(capsys, "data.memory=0")
    assert (code, err) == (1, "mtl: pets: 1 error, 2 warnings\n")
    assert "16 images of 6x6, in colour, left in files" in out
    assert "in test (25.0 %)\n" in out
    assert (here / "runs/pets/data/photos.png").is_file()


@pytest.mark.parametrize("memory", ["null", "0"])
def test_every_image_that_cannot_be_read_is_named(here: Path, capsys: Capture, memory: str) -> None:
    for name in ("train/cat/0.png", "train/dog/3.png", "test/dog/1.png"):
        (here / "data" / "pets" / name).write_bytes(b"\x89PNG but not really")
    Image.new("RGB", (5, 6)).save(here / "data/pets/test/cat/0.png")
    code, out, err = look(capsys, f"data.memory={memory}")
    assert (code, err) == (1, "mtl: pets: 1 error, 0 warnings\n")
    assert "4 of 16 images cannot be read, or are of another size than the others" in " ".join(out.split())
    for name in ("train/cat/0.png", "train/dog/3.png", "test/dog/1.png"):
        assert f"{name} cannot be read as an image" in " ".join(out.split())
    assert "test/cat/0.png of 5x6 beside" in " ".join(out.split())


PEOPLE = """\
# @package _global_
# People.
defaults:
  - override /backbone: mlp
data:
  parts:
    people: {name: table, path: people.csv, numbers: [age], categories: [city], split: part}
tasks:
  moved: {kind: classification, target: moved}
  wage: {kind: regression, target: wage}
"""


def people(here: Path, **changed: str) -> None:
    """A table of 40 rows, of which some are changed: {"rowN": line}."""
    (here / "my" / "task" / "pets.yaml").write_text(PEOPLE)
    rows = [
        f"{20 + i},{('Rom', 'Paris')[i % 2]},{('yes', 'no', '')[i % 3]},{1000 + i},{'train' if i < 30 else 'test'}"
        for i in range(40)
    ]
    rows = [changed.get(f"row{i + 1}", row) for i, row in enumerate(rows)]
    (here / "data" / "people.csv").write_text("\n".join(["age,city,moved,wage,part", *rows, ""]))


def test_a_table_is_counted_and_drawn(here: Path, capsys: Capture) -> None:
    people(here)
    code, out, err = look(capsys)
    assert (code, err) == (0, "")
    assert "part people: 40 rows, input columns: 1 of numbers, 1 of categories; no cell" in out
    assert Image.open(here / "runs/pets/data/people.png").size[1] > 500


def test_every_cell_that_cannot_be_read_is_named_with_its_row_and_the_rest_counted(here: Path, capsys: Capture) -> None:
    people(here, **{f"row{i}": f"old{i},Rom,yes,5,train" for i in range(3, 13)})
    code, out, err = look(capsys)
    assert (code, err) == (1, "mtl: pets: 1 error, 0 warnings\n")
    assert [f"people.csv, row {i}, column age: 'old{i}' is no number" in out for i in range(3, 9)] == [True] * 5 + [
        False
    ]
    assert "    and 5 more\n" in out


def test_rows_of_another_length_are_named(here: Path, capsys: Capture) -> None:
    people(here, row2="1,2", row7="1,2,3,4,5,6")
    code, out, _ = look(capsys)
    assert code == 1
    assert "people.csv, row 2: it has 2 fields" in out
    assert "people.csv, row 7: it has 6 fields" in out


def test_labels_that_train_never_has_are_named_with_their_rows(here: Path, capsys: Capture) -> None:
    people(here, row33="1,Rom,maybe,5,test", row35="2,Rom,perhaps,5,test", row38="1000,Wien,yes,9000,test")
    code, out, err = look(capsys)
    assert (code, err) == (1, "mtl: pets: 1 error, 3 warnings\n")
    assert "    people.csv, row 33, column moved: maybe\n    people.csv, row 35, column moved: perhaps\n" in out
    assert "  column age: 1 row of test far outside of train's 20 to 49, as 1000\n    people.csv, row 38\n" in out
    assert "column city: in 1 row of test (10.0 %), words that train never has: Wien" in " ".join(out.split())


def test_a_target_that_does_not_fit_stops_no_other(here: Path, capsys: Capture) -> None:
    code, out, err = look(capsys, "tasks.barks.target=colour")
    assert (code, err) == (1, "mtl: pets: 1 error, 0 warnings\n")
    assert "tasks.barks.target=colour is no column of the data" in out
    assert "species: classification, 2 classes" in out


def test_parts_that_cannot_share_a_backbone_are_an_error(here: Path, capsys: Capture) -> None:
    words = ["+data.parts.small=digits", "tasks.species.part=photos", "tasks.barks.part=photos"]
    code, out, _ = look(capsys, *words, "+tasks.digit={kind: classification, target: digit, part: small}")
    assert code == 1
    assert "tasks that share a backbone need one shape" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["tasks.barks.part=x"], "mtl: tasks.barks.part=x is not a part: choose from photos\n"),
        (["-m", "seed=0,1"], "mtl: --multirun has nothing to sweep in data: leave it out\n"),
        (["resume=runs/x"], "mtl: resume=runs/x has no effect here: mtl data looks at a task set, task=NAME\n"),
        (["+data.parts.b=digits", "tasks.barks.part=photos", "tasks.species.part=photos"],
         "mtl: data.parts.b has no task: give it one, or leave it out (~data.parts.b)\n"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_configuration_is_2_with_nothing_written(
    here: Path, capsys: Capture, words: list[str], line: str
) -> None:
    assert look(capsys, *words) == (2, "", line)
    assert not (here / "runs").exists()


def test_a_method_that_wants_held_out_data_gets_its_split_counted(here: Path, capsys: Capture) -> None:
    _, out, _ = look(capsys, "weighting=auto_lambda", "data.held_out=0.3", "plots=false")
    lines = out.splitlines()
    at = lines.index("part photos: 16 images of 6x6, in colour")
    heading, rows = (line.split() for line in lines[at + 1 : at + 3])
    assert heading[:4] == ["train", "heldout", "val", "test"]
    assert rows == ["rows", "6", "3", "3", "4"]


def test_a_run_on_images_that_stay_in_files_says_so_in_its_log_and_learns_as_one_in_memory(here: Path) -> None:
    words = ["train", "task=pets", "--config-dir", "my", "trainer.epochs=2", "device=cpu", "plots=false"]
    for memory in ("0", "1"):
        assert (
            main([*words, "tensorboard=false", "data.workers=1", f"data.memory={memory}", f"run_dir=run{memory}"]) == 0
        )
    told = "data.parts.photos: images stay in files (data.workers=1)"
    logs = [Path(f"run{memory}/train.log").read_text(encoding="utf-8") for memory in ("0", "1")]
    assert [told in log for log in logs] == [True, False]
    figures = [Path(f"run{memory}/metrics.jsonl").read_text(encoding="utf-8") for memory in ("0", "1")]
    assert figures[0] == figures[1]
