"""`mtl predict`: images in, rows out, and nothing else on stdout."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from mtl_cli.__main__ import main
from mtl_cli.data.augment import prepare
from mtl_cli.data.base import Place, Preparation
from mtl_cli.data.image_folder import ImageFolderSource
from mtl_cli.data.options import SOURCES, ImageFolder, Resize
from mtl_cli.data.pictures import Reader, UnreadableError, listing, paths, trained_on
from mtl_cli.options import ConfigError
from tests.options import default

SMALL = ["device=cpu", "device.threads=1", "trainer.max_steps=1", "trainer.batch_size=8", "backbone.channels=4",
         "backbone.depth=2", "data.limit=40", "plots=false", "tensorboard=false"]  # fmt: skip
PARITY = {str(digit): "odd" if digit % 2 else "even" for digit in range(10)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["train", *SMALL, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five grey images of the model's size in two folders, and what is no image by its name."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in ("b/2.png", "b/10.png", "a.PNG", "z, or not.bmp", "c.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(file)
    (tmp_path / "photos" / "readme.txt").write_text("no image")
    return Path("photos")


@pytest.fixture(autouse=True)
def _quiet_start(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()


def predict(run: Path, *words: str) -> int:
    return main(["predict", f"checkpoint={run}", "device=cpu", "device.threads=1", *words])


def test_a_folder_gives_a_row_for_each_image_in_sorted_order(
    run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(run, f"input={photos}", "trainer.eval_batch_size=2") == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["path", "digit", "digit.probability", "parity", "parity.probability", "slant"]
    names = ["a.PNG", "b/10.png", "b/2.png", "c.png", "z, or not.bmp"]
    assert [row["path"] for row in rows] == [f"photos/{name}" for name in names]
    for row in rows:
        assert row["digit"] in PARITY
        assert row["parity"] in ("even", "odd")
        assert 0.1 <= float(row["digit.probability"]) <= 1
        assert 0.5 <= float(row["parity.probability"]) <= 1


def test_rows_are_what_onnxruntime_says_of_the_export(
    run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", f"checkpoint={run}", "export.format=onnx"]) == 0
    capsys.readouterr()
    assert predict(run, f"input={photos}", "predict.format=jsonl") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    images = np.stack([np.asarray(Image.open(row["path"]), np.float32)[None] / 255 for row in rows])
    session = onnxruntime.InferenceSession(run / "export" / "onnx" / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, {"inputs": images}), strict=True))
    classes = {
        name: task.get("classes")
        for name, task in json.loads(session.get_modelmeta().custom_metadata_map["tasks"]).items()
    }
    for i, row in enumerate(rows):
        for task in ("digit", "parity"):
            expected = dict(zip(classes[task], answers[f"{task}.probabilities"][i], strict=True))
            assert row[f"{task}.probabilities"] == pytest.approx(expected, abs=1e-4)
            assert row[task] == max(expected, key=expected.__getitem__)
            assert row[f"{task}.probability"] == row[f"{task}.probabilities"][row[task]]
        assert row["slant"] == pytest.approx(float(answers["slant.value"][i]), rel=1e-4, abs=1e-4)


def test_bad_images_are_named_and_stop_no_other(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "b" / "1.png").write_text("no image")
    (photos / "empty.jpg").write_bytes(b"")
    assert predict(run, f"input={photos}") == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 6
    first, second, count = err.splitlines()
    assert first.startswith("mtl: photos/b/1.png cannot be read as an image (")
    assert second.startswith("mtl: photos/empty.jpg cannot be read as an image (")
    assert count == "mtl: 2 of 7 images could not be read"


def test_a_table_may_name_the_images(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "list.csv").write_text("id,path\n1,b/10.png\n2,a.PNG\n3,none.png\n")
    assert predict(run, f"input={photos}/list.csv") == 1
    out, err = capsys.readouterr()
    assert [line.partition(",")[0] for line in out.splitlines()] == ["path", "photos/b/10.png", "photos/a.PNG"]
    assert err.startswith("mtl: photos/none.png cannot be read as an image (")
    (photos / "list.csv").write_text("id,file\n1,b/10.png\n")
    assert predict(run, f"input={photos}/list.csv") == 2
    assert capsys.readouterr() == ("", "mtl: photos/list.csv has no column 'path': choose from file, id\n")


def test_images_are_looked_for_beside_their_table_then_where_training_had_them(tmp_path: Path) -> None:
    option = default(SOURCES, "image_table", path="photos", labels="labels.csv", column="file", delimiter=";")
    for name in ("photos/a.png", "photos/b.png", "b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "new.csv").write_text("file;size\na.png;1,5\n b.png;2\nnone.png;\n")
    how = listing({"photos": option}, tmp_path)
    found = list(paths(str(tmp_path / "new.csv"), "-", [], how))
    assert found == [tmp_path / "photos" / "a.png", tmp_path / "b.png", tmp_path / "none.png"]
    (tmp_path / "new.csv").write_text("file;size\na.png;1\n;2\n")
    with pytest.raises(ConfigError, match="row 2, column file: it is empty: it should name an image"):
        list(paths(str(tmp_path / "new.csv"), "-", [], how))


def test_a_bad_image_ends_it_where_that_is_asked_for(
    run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b" / "1.png").write_text("no image")
    assert predict(run, f"input={photos}", "on_error=stop") == 1
    out, err = capsys.readouterr()
    assert [line.partition(",")[0] for line in out.splitlines()] == ["path", "photos/a.PNG"]
    assert err.startswith("mtl: photos/b/1.png cannot be read as an image (")
    assert err.count("\n") == 1
    assert predict(run, f"input={photos}", "on_error=stop", "output=rows.csv") == 1
    assert not list(Path().glob("*rows.csv*"))


def test_a_dash_reads_paths_line_by_line_and_keeps_their_order(
    run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("photos/c.png\n\nnowhere.png\r\n./photos/a.PNG\n"))
    assert predict(run, "input=-", "output=rows.csv") == 1
    out, err = capsys.readouterr()
    assert out == "written: rows.csv\n"
    assert err.splitlines()[0].startswith("mtl: nowhere.png cannot be read as an image (")
    rows = Path("rows.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["path", "photos/c.png", "photos/a.PNG"]


def test_a_reader_who_has_enough_is_no_failure(
    run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        assert predict(run, f"input={photos}") == 141
    assert capsys.readouterr().err == ""


def test_an_image_is_brought_to_the_models_mode_and_size(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    colours = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(colours).save(file)
    same = Reader((3, 6, 9), after=False)(file)
    assert torch.equal(same, torch.from_numpy(colours).permute(2, 0, 1).float())
    small = Reader((1, 3, 5), after=False)(file)
    grey = Image.fromarray(colours).convert("L").resize((5, 3), Image.Resampling.BILINEAR)
    assert torch.equal(small, torch.from_numpy(np.asarray(grey).copy()).float()[None])


def test_a_model_whose_preparation_resizes_sees_what_it_saw_in_training(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    colours = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(colours).save(file)
    raw = torch.from_numpy(colours).permute(2, 0, 1)[None]
    unscaled = Preparation(mean=(0.0,) * 3, std=(1.0,) * 3, crop=0, flip=False, size=(12, 4))
    assert torch.equal(Reader((3, 12, 4), after=True)(file), prepare(raw, unscaled)[0])


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="cannot be read as an image"):
        Reader((3, 6, 9), after=False)(tmp_path)
    with pytest.raises(ConfigError, match="export it instead"):
        Reader((7,), after=False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "input=??? is missing: mtl predict checkpoint=RUN input=FILE"),
        (["input=photo"], "input=photo is not there: did you mean photos?"),
        (["input=nothing"], "input=nothing holds no image"),
        (["input=photos", "predict.format=xml"], "predict.format=xml is not valid: expected csv or jsonl"),
        (["input=photos", "output=no/rows.csv"], "output=no/rows.csv cannot be written"),
        (["input=photos/c.png", "output=./photos/c.png"], "output=./photos/c.png is the input: name another file"),
        (["input=photos", "on_error=halt"], "on_error=halt is not valid: expected skip or stop"),
        (["input=photos", "-m"], "--multirun has nothing to sweep in predict"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    run: Path, photos: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("nothing").mkdir()
    assert predict(run, *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mtl: {says}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("wanted", [None, (7, 5)])
def test_an_image_reaches_the_model_as_in_training(
    resize: Resize, colour: bool, wanted: tuple[int, int] | None, tmp_path: Path
) -> None:
    """Of any size, turned by its EXIF, also where the backbone wants another size and three channels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for split, name in (("train", "1.png"), ("test", "2.png")):
        folder = tmp_path / "photos" / split / "a"
        folder.mkdir(parents=True)
        noise = np.random.default_rng(len(name)).integers(0, 256, (11, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name, exif=exif)
    option = ImageFolder(path="photos", size=[9, 6], resize=resize, colour=colour, test=0.2, crop=0, flip=False)
    trained = ImageFolderSource(option, Place(tmp_path, tmp_path / "cache", 0, False, {})).load().train.inputs
    assert isinstance(trained, torch.Tensor)
    preparation = Preparation((0.0,) * 3, (1.0,) * 3, 0, False, wanted)
    reader = Reader((3, *(wanted or (9, 6))), wanted is not None, trained_on({"photos": option}))
    expected = prepare(trained, preparation)[0].expand(3, -1, -1)
    assert torch.equal(reader(tmp_path / "photos/train/a/1.png"), expected)


def test_two_ways_of_decoding_are_no_way_to_predict() -> None:
    options = {
        name: ImageFolder(path="x", size=8, resize=resize, colour=True, test=0.2, crop=0, flip=False)
        for name, resize in (("one", "crop"), ("other", "pad"))
    }
    with pytest.raises(ConfigError, match=r"data\.parts one and other decode images in different ways"):
        trained_on(options)
