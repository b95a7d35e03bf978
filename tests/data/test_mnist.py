from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from mtl_cli.data.base import Place
from mtl_cli.data.mnist import MnistSource
from mtl_cli.data.options import Mnist
from mtl_cli.options import ConfigError
from tests.data.idx import idx


def files(root: Path, variant: str, start: int = 0) -> Path:
    raw = root / variant / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 4), ("t10k", 2)):
        pictures = np.arange(count * 784).reshape(count, 28, 28) + start
        idx(raw / f"{part}-images-idx3-ubyte", pictures % 256)
        idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) + start + 3)
    return raw


def source(root: Path, variant: str = "MNIST", *, download: bool = False) -> MnistSource:
    return MnistSource(Mnist(variant=variant, crop=0, flip=False), Place(root, root / "cache", 0, download, {}))


def test_images_and_labels_are_read_from_idx_files(tmp_path):
    files(tmp_path, "MNIST")
    loaded = source(tmp_path).load()
    expected = (torch.arange(4 * 784) % 256).to(torch.uint8).view(4, 1, 28, 28)
    assert torch.equal(loaded.train.inputs, expected)
    assert loaded.train.columns["label"].values.tolist() == [3, 4, 5, 6]
    assert loaded.test.columns["label"].values.tolist() == [3, 4]
    assert loaded.train.columns["label"].values.dtype == torch.int64


def test_each_variant_has_its_own_folder_and_names(tmp_path):
    files(tmp_path, "MNIST")
    files(tmp_path, "FashionMNIST", start=1)
    digits, garments = source(tmp_path).load(), source(tmp_path, "FashionMNIST").load()
    assert digits.train.columns["label"].classes[3] == "3 - three"
    assert garments.train.columns["label"].classes[9] == "Ankle boot"
    assert garments.train.columns["label"].values.tolist() == [4, 5, 6, 7]
    assert digits.digest != garments.digest


def test_a_second_start_reads_the_cache_until_a_file_changes(tmp_path, monkeypatch):
    raw = files(tmp_path, "MNIST")
    first = source(tmp_path).load()
    reads = []
    real = MNIST._load_data
    monkeypatch.setattr(MNIST, "_load_data", lambda self: reads.append(1) or real(self))
    assert source(tmp_path).load().digest == first.digest
    assert reads == []
    idx(raw / "t10k-labels-idx1-ubyte", np.array([8, 8]))
    assert source(tmp_path).load().test.columns["label"].values.tolist() == [8, 8]


def test_nothing_found_says_where_and_both_ways_to_provide_it_in_one_line(tmp_path):
    with pytest.raises(ConfigError) as caught:
        source(tmp_path, "FashionMNIST").load()
    line = str(caught.value)
    assert str(tmp_path / "FashionMNIST" / "raw") in line
    assert "data.download=true" in line
    assert "put these files there" in line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("length", [0, 3, 9])
def test_a_damaged_file_is_a_mistake_that_names_its_folder(tmp_path, name, length):
    raw = files(tmp_path, "MNIST")
    (raw / name).write_bytes((raw / name).read_bytes()[:length])
    with pytest.raises(ConfigError, match=r"raw is damaged.*data.download=true"):
        source(tmp_path).load()


def test_fewer_labels_than_images_are_refused(tmp_path):
    raw = files(tmp_path, "MNIST")
    idx(raw / "train-labels-idx1-ubyte", np.array([1, 2, 3]))
    with pytest.raises(ConfigError, match="Found 3 for 4"):
        source(tmp_path).load()


def test_a_download_is_asked_of_torchvision_only_where_files_are_missing(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(MNIST, "download", lambda self: calls.append(1) or files(Path(self.root), "MNIST"))
    for _ in range(2):
        assert len(source(tmp_path, download=True).load().train.inputs) == 4
    assert calls == [1]


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    def fail(_: MNIST) -> None:
        raise RuntimeError("Error downloading:\nno mirror")

    monkeypatch.setattr(MNIST, "download", fail)
    with pytest.raises(ConfigError, match=r"could not be fetched into .*\(Error downloading: no mirror\)") as caught:
        source(tmp_path, download=True).load()
    assert "\n" not in str(caught.value)
