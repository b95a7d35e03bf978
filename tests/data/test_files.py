"""Images that stay in files give what images in memory give, to the bit."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_cli.data.ahead import ahead
from mtl_cli.data.augment import fit_preparation
from mtl_cli.data.base import Batch, Loaded, PartData, Place, Split, Stream
from mtl_cli.data.files import Files
from mtl_cli.data.image_folder import ImageFolderSource
from mtl_cli.data.loader import EvalLoader, TrainLoader
from mtl_cli.data.memory import free
from mtl_cli.data.options import ImageFolder
from mtl_cli.data.split import take
from mtl_cli.options import ConfigError, JobError

CPU = torch.device("cpu")
COUNT = 41


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split, count in (("train", COUNT), ("test", 9)):
        for i in range(count):
            file = root / split / "ab"[i % 2] / f"{i:02}.{'png' if i % 3 else 'jpg'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (9 + i % 4, 12, 3), dtype=np.uint8)).save(file)
    return root


def load(photos: Path, cache: Path, memory: int | None, workers: int = 2) -> Loaded:
    option = ImageFolder(path=str(photos), size=8, resize="crop", colour=True, test=0.2, crop=2, flip=True)
    return ImageFolderSource(option, Place(photos, cache, 0, False, {}, memory=memory, workers=workers)).load()


@pytest.fixture
def both(photos: Path, tmp_path: Path) -> tuple[Loaded, Loaded]:
    """The same images in memory and in files."""
    return load(photos, tmp_path / "cache", None), load(photos, tmp_path / "cache", 0)


def split(loaded: Loaded) -> Split:
    index = torch.arange(COUNT - 1, -1, -1)  # as if a split had been carved: rows of rows
    whole = PartData(loaded.train.inputs, {"label": loaded.train.columns["label"].values}, torch.arange(COUNT))  # type: ignore[arg-type]
    return {"photos": take(whole, index)}


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(p.inputs, q.inputs) and torch.equal(p.targets["label"], q.targets["label"])
        for a, b in zip(one, other, strict=True)
        for p, q in zip(a.parts, b.parts, strict=True)
    )


def test_what_a_stream_reads_and_its_digest_are_what_lies_in_memory(both: tuple[Loaded, Loaded]) -> None:
    held, left = both
    assert isinstance(held.train.inputs, torch.Tensor)
    assert isinstance(left.train.inputs, Stream)
    assert left.train.inputs.shape == (3, 8, 8)
    index = torch.tensor([5, 0, 40, 5])
    assert torch.equal(left.train.inputs.read(index), held.train.inputs[index])
    assert torch.equal(left.train.inputs[index].read(torch.tensor([2])), held.train.inputs[[40]])
    assert left.digest == held.digest


def test_a_preparation_is_equal_to_the_last_bit(both: tuple[Loaded, Loaded]) -> None:
    held, left = (fit_preparation(split(its)["photos"].inputs, 2, True) for its in both)
    assert held == left


@pytest.mark.parametrize("start", [0, 1, 3])
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_of_training_are_equal_from_any_start(
    photos: Path, tmp_path: Path, both: tuple[Loaded, Loaded], start: int, workers: int
) -> None:
    streamed = split(load(photos, tmp_path / "cache", 0, workers))
    preparation = {"photos": fit_preparation(split(both[0])["photos"].inputs, 2, True)}
    held, left = (TrainLoader(its, preparation, 8, 3, CPU) for its in (split(both[0]), streamed))
    assert same(list(held.epoch(2, start)), list(left.epoch(2, start)))
    assert torch.equal(held.opening()[0].inputs, left.opening()[0].inputs)


def test_batches_of_evaluation_are_equal(both: tuple[Loaded, Loaded]) -> None:
    preparation = {"photos": fit_preparation(split(both[0])["photos"].inputs, 2, True)}
    held, left = (list(EvalLoader(split(its), preparation, 8, CPU)) for its in both)
    assert same(held, left)


def test_two_parts_one_of_them_in_files_are_equal(both: tuple[Loaded, Loaded]) -> None:
    few = take(split(both[0])["photos"], torch.arange(10))
    preparation = dict.fromkeys(("photos", "few"), fit_preparation(split(both[0])["photos"].inputs, 2, True))
    held, left = (TrainLoader({**split(its), "few": few}, preparation, 8, 3, CPU) for its in both)
    assert same(list(held.epoch(0)), list(left.epoch(0)))


def test_what_was_seen_of_images_is_kept(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(photos, tmp_path / "cache", 0)
    monkeypatch.setattr("mtl_cli.data.gathered.surveyed", None)
    assert load(photos, tmp_path / "cache", 0).digest == first.digest


def test_whoever_takes_one_batch_starts_no_process(
    both: tuple[Loaded, Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl_cli.data.ahead.DataLoader", None)
    preparation = {"photos": fit_preparation(split(both[0])["photos"].inputs, 2, True)}
    assert len(next(TrainLoader(split(both[1]), preparation, 8, 3, CPU).epoch(0, 2)).parts) == 1


def test_a_broken_image_is_named_before_the_run(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for file in photos.rglob("*.*"):
        copy = root / file.relative_to(photos)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    whole = (root / "train/b/39.jpg").read_bytes()
    (root / "train/b/39.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError) as caught:
        load(root, tmp_path / "cache", 0)
    line = str(caught.value)
    assert line.startswith(f"{root}: train/b/39.jpg cannot be read as an image (")
    assert "\n" not in line


def test_an_image_that_breaks_during_the_run_ends_it_in_one_line(photos: Path, tmp_path: Path) -> None:
    file = photos / "train/b/39.jpg"
    stream = load(photos, tmp_path / "cache", 0).train.inputs
    assert isinstance(stream, Files)
    content = file.read_bytes()
    file.write_bytes(content[:50])
    try:
        with pytest.raises(JobError) as caught:
            list(ahead(stream, (np.arange(i, min(i + 5, COUNT)) for i in range(0, COUNT, 5)), CPU))
    finally:
        file.write_bytes(content)
    assert "train/b/39.jpg cannot be read as an image" in str(caught.value)
    assert "\n" not in str(caught.value)


class Pids(Stream):
    """One image a sample: its process's number."""

    shape = (1, 1, 4)
    workers = 2

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: torch.Tensor) -> "Pids":
        return self

    def read(self, index: torch.Tensor) -> torch.Tensor:
        number = os.getpid() if signal.getsignal(signal.SIGINT) == signal.SIG_IGN else 0
        return torch.tensor([number], dtype=torch.int32).view(torch.uint8).expand(len(index), 1, 1, 4)

    def moments(self) -> None:  # type: ignore[override]
        raise NotImplementedError


@pytest.fixture
def _hears_ctrl_c() -> Iterator[None]:
    """A shell that starts the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def numbers(batches: Iterator[torch.Tensor]) -> list[int]:
    return [int(batch[0].contiguous().view(torch.int32)) for batch in batches]


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_processes_decode_apart_from_the_terminal_and_end_with_the_epoch() -> None:
    found = numbers(ahead(Pids(), (np.arange(2) for _ in range(6)), CPU))
    others = set(found[1:])
    assert found[0] == 0
    assert len(others) == 2
    assert 0 not in others
    for pid in others:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_processes_of_an_epoch_that_is_left_end_too() -> None:
    batches = ahead(Pids(), (np.arange(2) for _ in range(60)), CPU)
    next(batches)
    pid = numbers(iter([next(batches)]))[0]
    os.kill(pid, 0)
    del batches
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_images_stay_in_files_from_the_first_byte_too_many(photos: Path, tmp_path: Path) -> None:
    size = (COUNT + 9) * 3 * 8 * 8
    assert isinstance(load(photos, tmp_path / "cache", size).train.inputs, torch.Tensor)
    assert isinstance(load(photos, tmp_path / "cache", size - 1).train.inputs, Stream)


def test_free_memory_is_within_what_there_is() -> None:
    assert 0 < free() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
