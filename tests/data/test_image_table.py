"""Images named by tables: joins, splits, missing labels, and what is wrong told with file, row and column."""

import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from mtl_cli.data.base import MISSING, Loaded, Place, Reads, Stream
from mtl_cli.data.image_table import ImageTableSource
from mtl_cli.data.options import ImageTable
from mtl_cli.options import ConfigError

LABELS: dict[str, Reads] = {"age": "numbers", "mood": "classes"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve images, 0.png to 11.png, each of its number's grey, and three tables."""
    (tmp_path / "faces/in").mkdir(parents=True)
    for i in range(12):
        Image.new("L", (4, 3), i).save(tmp_path / f"faces/in/{i}.png")
    rows = [f"in/{i}.png,{i / 2},{'good' if i % 2 else 'bad'},{'test' if i > 8 else 'train'}" for i in range(12)]
    (tmp_path / "all.csv").write_text("\n".join(["file,age,mood,split", *rows]))
    (tmp_path / "ages.csv").write_text("file,age\n" + "\n".join(f"in/{i}.png,{i / 2}" for i in range(8)))
    (tmp_path / "moods.csv").write_text("mood,file\n" + "\n".join(f"m{i % 2},in/{i}.png" for i in range(11, 4, -1)))
    return tmp_path


def source(
    root: Path, labels: str | list[str], wanted: dict[str, Reads] | None = None, **more: object
) -> ImageTableSource:
    told = {"path": "faces", "size": None, "resize": "stretch", "colour": False, "crop": 0, "flip": False,
            "column": "file", "test_path": None, "split": None, "test": 0.25, "missing": [""], "codes": {},
            "delimiter": None, "encoding": "utf-8", "memory": None, **more}  # fmt: skip
    memory = told.pop("memory")
    place = Place(root, root / "cache", 0, False, LABELS if wanted is None else wanted, memory=memory)  # type: ignore[arg-type]
    return ImageTableSource(ImageTable(labels=labels, **told), place)  # type: ignore[arg-type]


def greys(images: object) -> list[int]:
    if isinstance(images, Stream):
        images = images.read(torch.arange(len(images)))
    assert isinstance(images, torch.Tensor)
    return [int(x) for x in images[:, 0, 0, 0]]


def whole(loaded: Loaded) -> dict[int, tuple[float, int]]:
    """Age and mood by the image's number."""
    return {
        number: (age, mood)
        for piece in (loaded.train, loaded.test)
        for number, age, mood in zip(
            greys(piece.inputs),
            piece.columns["age"].values.tolist(),
            piece.columns["mood"].values.tolist(),
            strict=True,
        )
    }


def line(made: ImageTableSource) -> str:
    with pytest.raises(ConfigError) as caught:
        made.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("memory", [None, 0])
def test_a_row_is_an_image_with_its_labels(root: Path, memory: int | None) -> None:
    made = source(root, "all.csv", split="split", memory=memory)
    loaded = made.load()
    assert greys(loaded.train.inputs) == list(range(9))
    assert greys(loaded.test.inputs) == [9, 10, 11]
    assert loaded.train.columns["mood"].classes == ("bad", "good")
    assert whole(loaded) == {i: (i / 2, i % 2) for i in range(12)}
    assert made.where("test", 1) == "all.csv, row 11"


def test_two_annotation_files_are_joined_by_the_path(root: Path) -> None:
    loaded = source(root, ["ages.csv", "moods.csv"]).load()
    found = whole(loaded)
    assert sorted(found) == list(range(12))
    assert len(loaded.test.inputs) == 3
    for i, (age, mood) in found.items():
        assert mood == (i % 2 if i > 4 else MISSING)
        assert age == i / 2 if i < 8 else age != age  # noqa: PLR0124  # NaN


def test_files_may_share_a_column_but_not_differ_in_it(root: Path) -> None:
    (root / "more.csv").write_text("file,age\nin/11.png,5.5\nin/7.png,3.5\nin/2.png,\n")
    found = whole(source(root, ["ages.csv", "moods.csv", "more.csv"]).load())
    assert found[11][0] == 5.5
    assert found[2][0] == 1.0
    (root / "more.csv").write_text("file,age\nin/11.png,5.5\nin/7.png,9\n")
    said = line(source(root, ["ages.csv", "moods.csv", "more.csv"]))
    assert said.startswith("more.csv, row 2, column age: its label is another one than in ages.csv, row 8")


def test_a_file_of_its_own_may_hold_test(root: Path) -> None:
    (root / "test.csv").write_text("file,age,mood\nin/9.png,1,m0\n./in/8.png,2,m1\n")
    (root / "train.csv").write_text("file,age,mood\nin\\1.png,1,m0\nin/0.png,2,m1\n")
    loaded = source(root, "train.csv", test_path="test.csv").load()
    assert (greys(loaded.train.inputs), greys(loaded.test.inputs)) == ([1, 0], [9, 8])
    (root / "test.csv").write_text("file,age,mood\nin/9.png,1,m0\nin/0.png,2,m1\n")
    assert line(source(root, "train.csv", test_path="test.csv")).startswith(
        "test.csv, row 2, column file: in/0.png is in train.csv, row 2 too"
    )


@pytest.mark.parametrize("above", ["", "faces/"])
def test_a_zip_is_as_good_as_a_folder(root: Path, above: str) -> None:
    with zipfile.ZipFile(root / "faces.zip", "w") as file:
        for image in (root / "faces/in").iterdir():
            file.write(image, f"{above}in/{image.name}")
    folder, packed = (source(root, "all.csv", split="split", path=path).load() for path in ("faces", "faces.zip"))
    assert whole(folder) == whole(packed)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("in/99.png,1,good,train", "row 13, column file: in/99.png is not in "),
        (",1,good,train", "row 13, column file: it is empty"),
        ("in/3.png,1,good,train", "row 13, column file: in/3.png stands in row 4 already"),
        ("in/cut.png,1,good,train", "row 13, column file: in/cut.png cannot be read as an image ("),
        ("in/new.png,old,good,train", "row 13, column age: 'old' is no number"),
        ("in/new.png,1,good,tset", "row 13, column split: tset: it should be train, val or test"),
        ("in/new.png,1,good,", "row 13, column split: it is empty: it should be train, val or test"),
    ],
)
@pytest.mark.parametrize("memory", [None, 0])
def test_what_is_wrong_is_told_with_its_row(root: Path, row: str, said: str, memory: int | None) -> None:
    Image.new("L", (4, 3), 99).save(root / "faces/in/new.png")
    (root / "faces/in/cut.png").write_bytes((root / "faces/in/new.png").read_bytes()[:50])
    with (root / "all.csv").open("a") as file:
        file.write(f"\n{row}\n")
    assert line(source(root, "all.csv", split="split", memory=memory)).startswith(f"all.csv, {said}")


@pytest.mark.parametrize(
    ("labels", "more", "said"),
    [
        ("all.csv", {"column": "fiel"}, "all.csv has no column 'fiel': did you mean file?"),
        ("ages.csv", {}, "ages.csv has no column 'mood'"),
        (["ages.csv", "ages.csv"], {}, "labels names ages.csv twice"),
        (["ages.csv", "moods.csv"], {"split": "split"}, "none of ages.csv, moods.csv has a column 'split'"),
        ("none.csv", {}, "none.csv is not a file"),
        ("empty.csv", {}, "empty.csv "),
        ("all.csv", {"path": "nowhere"}, "no images at "),
        ("all.csv", {"test": 0.0}, "all.csv keeps none of its 12 images for test"),
        ("all.csv", {"split": "split", "test_path": "ages.csv"}, "test_path=ages.csv should be another file"),
        ("all.csv", {"column": "mood"}, "all.csv: column mood cannot be a target"),
    ],
)
def test_what_does_not_fit_is_one_line(root: Path, labels: str | list[str], more: dict[str, object], said: str) -> None:
    (root / "empty.csv").write_text("file,age,mood\n")
    assert line(source(root, labels, **more)).startswith(said)


def test_a_task_without_a_label_in_train_is_named(root: Path) -> None:
    (root / "moods.csv").write_text("file,mood\nin/1.png,\n")
    assert "column mood: no row of train has a label" in line(source(root, ["ages.csv", "moods.csv"]))
