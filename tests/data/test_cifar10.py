import hashlib
import pickle
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from torchvision.datasets import CIFAR10

from mtl_cli.beneath import CONF
from mtl_cli.data.base import Place
from mtl_cli.data.cifar10 import BATCHES, CLASSES, LAYOUT, Cifar10Source
from mtl_cli.data.options import Cifar10
from mtl_cli.options import ConfigError


def source(root: Path, *, path: str | None = None, download: bool = False) -> Cifar10Source:
    return Cifar10Source(Cifar10(path=path, crop=4, flip=True), Place(root, root / "cache", 0, download, {}))


def png(value: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (32, 32), (value, value + 1, value + 2)).save(file, "png")
    return file.getvalue()


def images(path: Path, classes: tuple[str, ...] = CLASSES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for i, name in enumerate(classes):
            file.writestr(f"train/{name}/0.png", png(i))
            file.writestr(f"test/{name}/0.png", png(100 + i))


def batches(root: Path) -> dict[str, str]:
    """A tiny set in torchvision's layout, two images a batch; each file's md5."""
    folder = root / LAYOUT
    folder.mkdir(parents=True)
    for number, name in enumerate(BATCHES[:-1]):
        data = np.zeros((2, 3072), dtype=np.uint8)
        data[0, :1024], data[0, 1024:2048], data[0, 2048:] = number, 50, 90
        data[1, 1] = 200 + number
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [number, 9]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in BATCHES}  # noqa: S324


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The tiny set's folder, with torchvision taking its md5s for the published ones."""
    sums = batches(tmp_path / "data")
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in BATCHES[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    return tmp_path / "data"


def test_the_published_batches_are_read_by_channel_row_and_column(tiny):
    loaded = source(tiny).load()
    assert loaded.train.inputs.shape == (10, 3, 32, 32)
    assert loaded.train.inputs[:, :, 0, 0].tolist()[::2] == [[i, 50, 90] for i in range(5)]
    assert loaded.train.inputs[1, 0, 0, :3].tolist() == [0, 200, 0]
    assert loaded.train.columns["label"].values.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert loaded.train.columns["label"].classes == CLASSES
    assert loaded.test.columns["label"].values.tolist() == [5, 9]


def test_batches_with_another_md5_are_refused(tiny):
    path = tiny / LAYOUT / "data_batch_3"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ConfigError, match=f"{LAYOUT} is not CIFAR-10 as published.*data.download=true"):
        source(tiny).load()


def test_a_second_start_reads_no_batch(tiny, monkeypatch):
    first = source(tiny).load()
    monkeypatch.setattr(CIFAR10, "__init__", lambda *_, **__: pytest.fail("read again"))
    assert source(tiny).load().digest == first.digest


def test_damage_after_the_first_start_is_not_hidden_by_the_cache(tiny):
    source(tiny).load()
    path = tiny / LAYOUT / "test_batch"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigError, match="is not CIFAR-10 as published"):
        source(tiny).load()


@pytest.mark.parametrize("where", ["cifar10.zip", "cifar10/any.zip"])
def test_a_zip_of_images_is_found_in_the_usual_places_with_the_usual_order(tmp_path, where):
    images(tmp_path / where, CLASSES[::-1])
    loaded = source(tmp_path).load()
    assert loaded.train.columns["label"].classes == CLASSES
    assert loaded.train.columns["label"].values.tolist() == list(range(10))
    assert loaded.train.inputs[:, 0, 0, 0].tolist() == list(range(9, -1, -1))
    assert loaded.test.inputs[:, 1, 0, 0].tolist() == list(range(110, 100, -1))


def test_a_folder_of_images_is_found(tmp_path):
    images(tmp_path / "x.zip")
    zipfile.ZipFile(tmp_path / "x.zip").extractall(tmp_path / "cifar10")
    assert len(source(tmp_path).load().train.inputs) == 10


def test_a_path_names_another_place(tmp_path, tiny):
    images(tmp_path / "elsewhere" / "copy.zip")
    assert len(source(tmp_path, path="elsewhere/copy.zip").load().train.inputs) == 10
    assert len(source(tmp_path, path="data").load().test.inputs) == 2
    assert len(source(tmp_path, path=f"data/{LAYOUT}").load().test.inputs) == 2
    assert len(source(tmp_path, path=str(tiny)).load().test.inputs) == 2


def test_a_folder_that_is_no_class_is_named(tmp_path):
    images(tmp_path / "cifar10.zip", ("airplane", "zebra"))
    with pytest.raises(ConfigError, match="Found train/zebra"):
        source(tmp_path).load()


@pytest.mark.parametrize("path", [None, "missing"])
def test_nothing_found_says_where_and_both_ways_to_provide_it_in_one_line(tmp_path, path):
    with pytest.raises(ConfigError) as caught:
        source(tmp_path, path=path).load()
    line = str(caught.value)
    assert str(tmp_path) in line
    assert "cifar-10-batches-py" in line
    assert "data.download=true" in line
    assert "put" in line
    assert "\n" not in line


def test_a_download_is_asked_of_torchvision_only_where_nothing_is_found(tmp_path, tiny, monkeypatch):
    kept = tmp_path / "kept"
    shutil.move(tiny, kept)
    calls = []
    monkeypatch.setattr(
        CIFAR10,
        "download",
        lambda self: calls.append(self.root) or shutil.copytree(kept, self.root, dirs_exist_ok=True),
    )
    for _ in range(2):
        assert len(source(tiny, download=True).load().train.inputs) == 10
    assert [Path(call) for call in calls] == [tiny]


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    def fail(_: CIFAR10) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(CIFAR10, "download", fail)
    with pytest.raises(ConfigError, match=r"could not be fetched into .*\(no route to host\)") as caught:
        source(tmp_path, download=True).load()
    assert "\n" not in str(caught.value)


def test_cifar_binary10_asks_for_each_class_against_the_rest():
    tasks = OmegaConf.to_container(OmegaConf.load(CONF / "task" / "cifar_binary10.yaml"))["tasks"]
    assert tasks == {name: {"kind": "binary", "target": {"from": "label", "is": name}} for name in CLASSES}
