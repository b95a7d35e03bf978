import os
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_cli.data.base import Place
from mtl_cli.data.image_folder import ImageFolderSource
from mtl_cli.data.options import ImageFolder
from mtl_cli.options import ConfigError

Files = dict[str, bytes]


def png(colour: tuple[int, int, int], width: int = 3, height: int = 2) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "png")
    return file.getvalue()


FILES: Files = {
    "train/cat/b.png": png((1, 2, 3)),
    "train/cat/a.png": png((4, 5, 6)),
    "train/ant/z.png": png((7, 8, 9)),
    "test/cat/q.png": png((10, 11, 12)),
}


def folder(root: Path, files: Files) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def zipped(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def source(
    tmp_path: Path, path: str, *, size: int | list[int] | None = None, colour: bool = True, test: float = 0.2
) -> ImageFolderSource:
    option = ImageFolder(path=path, size=size, resize="stretch", colour=colour, test=test, crop=0, flip=False)
    return ImageFolderSource(option, Place(tmp_path, tmp_path / "cache", 0, download=False, labels={}))


@pytest.mark.parametrize("kind", ["folder", "zip", "zip with all in one folder"])
def test_images_and_labels_are_read_in_the_order_of_class_and_name(tmp_path, kind):
    if kind == "folder":
        folder(tmp_path / "pets", FILES)
    else:
        above = "pets/" if "one folder" in kind else ""
        zipped(tmp_path / "pets", {above + name: content for name, content in FILES.items()})
    loaded = source(tmp_path, "pets").load()
    assert loaded.train.inputs.shape == (3, 3, 2, 3)
    assert loaded.train.inputs.dtype == torch.uint8
    assert loaded.train.inputs[:, :, 0, 0].tolist() == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]
    assert loaded.train.columns["label"].values.tolist() == [0, 1, 1]
    assert loaded.test.inputs[:, :, 1, 2].tolist() == [[10, 11, 12]]
    assert loaded.test.columns["label"].values.tolist() == [1]
    assert loaded.test.columns["label"].classes == ("ant", "cat")


def test_classes_are_sorted_by_name_and_not_by_path(tmp_path):
    names = [f"{part}/{name}/1.png" for part in ("train", "test") for name in ("a-b", "a")]
    zipped(tmp_path / "x.zip", dict.fromkeys(names, png((0, 0, 0))))
    assert source(tmp_path, "x.zip").load().train.columns["label"].classes == ("a", "a-b")


def test_rows_are_height_and_columns_width(tmp_path):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "png")
    folder(tmp_path / "x", {"train/a/1.png": file.getvalue(), "test/a/1.png": file.getvalue()})
    loaded = source(tmp_path, "x").load()
    assert loaded.train.inputs[0].tolist() == pixels.transpose(2, 0, 1).tolist()


def test_grey_images_have_one_channel(tmp_path):
    folder(tmp_path / "x", {"train/a/1.png": png((50, 50, 50)), "test/a/1.png": png((60, 60, 60))})
    loaded = source(tmp_path, "x", colour=False).load()
    assert loaded.train.inputs.shape == (1, 1, 2, 3)
    assert loaded.train.inputs.unique().tolist() == [50]


def test_images_of_several_sizes_are_refused_with_both_named(tmp_path):
    folder(tmp_path / "x", {**FILES, "test/cat/r.png": png((0, 0, 0), 5, 4)})
    with pytest.raises(ConfigError) as caught:
        source(tmp_path, "x").load()
    line = str(caught.value)
    assert "test/cat/r.png of 5x4" in line
    assert "train/ant/z.png of 3x2" in line
    assert "\n" not in line


def test_a_size_makes_them_one(tmp_path):
    folder(tmp_path / "x", {**FILES, "test/cat/r.png": png((9, 9, 9), 5, 4)})
    loaded = source(tmp_path, "x", size=4).load()
    assert loaded.train.inputs.shape == (3, 3, 4, 4)
    assert loaded.test.inputs[1].unique().tolist() == [9]


@pytest.mark.parametrize("broken", [b"", b"no image", FILES["train/cat/a.png"][:-28], FILES["train/cat/a.png"][:40]])
@pytest.mark.parametrize("pack", [folder, zipped])
def test_a_broken_image_is_named(tmp_path, pack, broken):
    pack(tmp_path / "x", {**FILES, "train/cat/bad.png": broken})
    with pytest.raises(ConfigError, match=r"train/cat/bad\.png cannot be read as an image"):
        source(tmp_path, "x").load()


def test_a_damaged_zip_is_named(tmp_path):
    path = zipped(tmp_path / "x.zip", FILES)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"x\.zip is no zip file that can be read"):
        source(tmp_path, "x.zip").load()


def test_a_bit_flipped_in_a_zip_names_the_image(tmp_path):
    path = zipped(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ConfigError, match=r"train/cat/b\.png cannot be read"):
        source(tmp_path, "x.zip").load()


def test_a_class_that_train_lacks_is_named(tmp_path):
    folder(tmp_path / "x", {**FILES, "test/dog/1.png": png((0, 0, 0))})
    with pytest.raises(ConfigError, match=r"one of ant, cat\. Found test/dog"):
        source(tmp_path, "x").load()


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_without_images_is_named(tmp_path, part):
    files = {name: content for name, content in FILES.items() if not name.startswith(part)}
    zipped(tmp_path / "x.zip", files)
    with pytest.raises(ConfigError, match=f"no images at {part}/<class>/"):
        source(tmp_path, "x.zip").load()


def test_files_that_are_no_images_are_left_out(tmp_path):
    folder(tmp_path / "x", {**FILES, "train/cat/.a.png": b"", "train/cat/notes.txt": b"", "readme.png": b""})
    assert len(source(tmp_path, "x").load().train.inputs) == 3


PETS: Files = {
    **{f"cat/{i}.png": png((i, 0, 0)) for i in range(10)},
    **{f"ant/{i}.png": png((i, 0, 1)) for i in range(5)},
    "dog/only.png": png((0, 9, 0)),
}


@pytest.mark.parametrize("above", ["", "pets/"])
def test_folders_of_classes_alone_give_each_class_its_share_of_test(tmp_path, above):
    zipped(tmp_path / "x.zip", {above + name: content for name, content in PETS.items()})
    made = source(tmp_path, "x.zip", test=0.2)
    loaded = made.load()
    labels = loaded.train.columns["label"]
    assert labels.classes == ("ant", "cat", "dog")
    assert labels.values.bincount().tolist() == [4, 8, 1]
    assert loaded.test.columns["label"].values.bincount().tolist() == [1, 2]
    for split, piece in (("train", loaded.train), ("test", loaded.test)):
        for k, (image, label) in enumerate(zip(piece.inputs, piece.columns["label"].values.tolist(), strict=True)):
            name = labels.classes[label]
            file = "only" if name == "dog" else int(image[0, 0, 0])
            assert made.where(split, k) == f"{tmp_path / 'x.zip'}: {above}{name}/{file}.png"
    assert torch.equal(source(tmp_path, "x.zip", test=0.2).load().test.inputs, loaded.test.inputs)


def test_a_folder_of_folders_of_classes_is_read_as_a_zip_of_them(tmp_path):
    folder(tmp_path / "x", PETS)
    zipped(tmp_path / "x.zip", PETS)
    assert torch.equal(source(tmp_path, "x").load().train.inputs, source(tmp_path, "x.zip").load().train.inputs)


def test_a_test_share_that_keeps_nothing_is_named(tmp_path):
    zipped(tmp_path / "x.zip", PETS)
    with pytest.raises(ConfigError, match=r"keeps none of its 16 images for test \(test=0"):
        source(tmp_path, "x.zip", test=0.0).load()


@pytest.mark.parametrize("files", [{}, {"readme.txt": b"x"}, {"loose.png": png((0, 0, 0))}, {"a/.hidden.png": b""}])
def test_a_folder_without_images_of_classes_is_named(tmp_path, files):
    (tmp_path / "x").mkdir()
    folder(tmp_path / "x", files)
    with pytest.raises(ConfigError, match=r"has no images at train/<class>/\* and test/<class>/\*, nor at <class>/\*"):
        source(tmp_path, "x").load()


def test_height_and_width_may_differ(tmp_path):
    folder(tmp_path / "x", {**FILES, "test/cat/r.png": png((9, 9, 9), 5, 4)})
    assert source(tmp_path, "x", size=[4, 6]).load().test.inputs.shape == (2, 3, 4, 6)


def test_nothing_found_says_where_and_what_to_do_in_one_line(tmp_path):
    with pytest.raises(ConfigError) as caught:
        source(tmp_path, "missing").load()
    line = str(caught.value)
    assert str(tmp_path / "missing") in line
    assert "train/<class>/*" in line
    assert "path" in line
    assert "\n" not in line


@pytest.mark.parametrize("pack", [folder, zipped])
def test_decoded_once_until_the_content_changes(tmp_path, pack, monkeypatch):
    decoded = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda file: decoded.append(1) or real(file))
    path = pack(tmp_path / "x", FILES)
    first = source(tmp_path, "x").load()
    count = len(decoded)
    assert source(tmp_path, "x").load().digest == first.digest
    assert len(decoded) == count
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    pack(tmp_path / "x", {**FILES, "train/cat/a.png": png((4, 5, 7))})
    changed = source(tmp_path, "x").load()
    assert changed.train.inputs[1, :, 0, 0].tolist() == [4, 5, 7]
    assert changed.digest != first.digest
    assert len(decoded) > count
    source(tmp_path, "x", size=4).load()
    assert source(tmp_path, "x", size=4).load().train.inputs.shape[-1] == 4


def test_a_folder_and_a_zip_of_the_same_images_have_the_same_digest(tmp_path):
    folder(tmp_path / "x", FILES)
    zipped(tmp_path / "x.zip", FILES)
    assert source(tmp_path, "x").load().digest == source(tmp_path, "x.zip").load().digest


def test_a_file_touched_in_a_folder_is_read_again(tmp_path):
    root = folder(tmp_path / "x", FILES)
    source(tmp_path, "x").load()
    os.utime(root / "train/cat/a.png", (1, 1))
    source(tmp_path, "x").load()
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_many_large_images_are_decoded_into_their_own_places(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 8, 8, 3), dtype=np.uint8)
    files: Files = {}
    for i, pixels in enumerate(noise):
        file = BytesIO()
        Image.fromarray(pixels).save(file, "bmp" if i else "png")
        files[f"train/a/{i:04}.{'bmp' if i else 'png'}"] = file.getvalue()
    files["train/a/0000.png"] += b"\0" * 10_000
    zipped(tmp_path / "x.zip", {**files, "test/a/0.bmp": files["train/a/0001.bmp"]})
    loaded = source(tmp_path, "x.zip").load()
    assert torch.equal(loaded.train.inputs, torch.from_numpy(noise.transpose(0, 3, 1, 2).copy()))


def test_reading_images_imports_no_torchvision():
    code = (
        "import sys, mtl_cli.data.image_folder, mtl_cli.data.cifar10, mtl_cli.data.mnist, mtl_cli.data.loader; "
        "sys.exit(any(name in sys.modules for name in ('torchvision', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
