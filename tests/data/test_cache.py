import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mtl_cli.data.base import Column, Loaded, Samples
from mtl_cli.data.cache import cache_folder, cached, content_digest, file_digest


def samples(n: int, value: int = 1) -> Samples:
    columns = {
        "label": Column(torch.arange(n) % 2, ("no", "yes")),
        "size": Column(torch.arange(n, dtype=torch.float32) / 3, None),
    }
    return Samples(torch.full((n, 1, 2, 2), value, dtype=torch.uint8), columns)


class Decoder:
    """Counts how often it is asked."""

    def __init__(self, value: int = 1) -> None:
        self.value = value
        self.times = 0

    def __call__(self) -> tuple[Samples, Samples]:
        self.times += 1
        return samples(4, self.value), samples(2, self.value)


def equal(one: Samples, other: Samples) -> bool:
    return torch.equal(one.inputs, other.inputs) and all(
        torch.equal(column.values, other.columns[name].values)
        and column.values.dtype == other.columns[name].values.dtype
        and column.classes == other.columns[name].classes
        for name, column in one.columns.items()
    )


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def both(one: Loaded, other: Loaded) -> bool:
    return equal(one.train, other.train) and equal(one.test, other.test) and one.digest == other.digest


def test_a_second_start_reads_the_same_data_and_decodes_nothing(tmp_path):
    decoder = Decoder()
    first = cached(tmp_path / "new", "toy", ("abc",), decoder)
    second = cached(tmp_path / "new", "toy", ("abc",), decoder)
    assert decoder.times == 1
    assert both(first, second)
    assert second.train.columns["label"].classes == ("no", "yes")
    assert second.train.columns["size"].classes is None


def test_other_content_or_another_option_is_another_file(tmp_path):
    decoder = Decoder()
    for words in (("abc", "size=8"), ("abd", "size=8"), ("abc", "size=9"), ("abc", "size=8")):
        cached(tmp_path, "toy", words, decoder)
    assert decoder.times == 3
    assert len(kept(tmp_path)) == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header"])
def test_a_damaged_file_is_built_again(tmp_path, damage, caplog):
    first = cached(tmp_path, "toy", ("abc",), Decoder())
    path = tmp_path / kept(tmp_path)[0]
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
    elif damage == "cut":
        del content[-5:]
    elif damage == "empty":
        content.clear()
    else:
        content[:8] = b"\xff" * 8
    path.write_bytes(bytes(content))
    decoder = Decoder()
    assert both(cached(tmp_path, "toy", ("abc",), decoder), first)
    assert decoder.times == 1
    assert "is damaged" in caplog.text
    cached(tmp_path, "toy", ("abc",), decoder)
    assert decoder.times == 1


def test_changed_class_names_count_as_damage(tmp_path):
    cached(tmp_path, "toy", ("abc",), Decoder())
    path = tmp_path / kept(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b"yes", b"yea"))
    decoder = Decoder()
    assert cached(tmp_path, "toy", ("abc",), decoder).train.columns["label"].classes == ("no", "yes")
    assert decoder.times == 1


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_write_that_fails_leaves_neither_half_a_file_nor_a_temporary(tmp_path, moment, monkeypatch, caplog):
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", fail) if moment == "fsync" else (Path, "replace", fail)))
        loaded = cached(tmp_path, "toy", ("abc",), Decoder())
    assert equal(loaded.train, samples(4))
    assert kept(tmp_path) == []
    assert [r.levelname for r in caplog.records if r.levelname != "INFO"] == ["WARNING"]
    assert "No space left" in caplog.text


def test_the_file_has_its_name_only_when_it_is_whole_and_synced(tmp_path, monkeypatch):
    seen = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        seen.append(kept(tmp_path))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    cached(tmp_path, "toy", ("abc",), Decoder())
    (temporary,), (final,) = seen
    assert temporary.endswith(".tmp")
    assert final.endswith(".safetensors")
    with safe_open(tmp_path / final, framework="pt") as file:
        assert set(file.metadata()) == {"classes", "digest", "checksum"}


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    decoder = Decoder()
    for _ in range(2):
        assert equal(cached(tmp_path / "file" / "cache", "toy", ("abc",), decoder).train, samples(4))
    assert decoder.times == 2
    assert {r.levelname for r in caplog.records if r.levelname != "INFO"} == {"WARNING"}
    assert sum(r.levelname == "WARNING" for r in caplog.records) == 2


def test_what_a_killed_process_left_is_cleared_but_not_what_is_being_written(tmp_path):
    cached(tmp_path, "toy", ("abc",), Decoder())
    (name,) = kept(tmp_path)
    (tmp_path / name).unlink()
    old, young = tmp_path / f".{name}.1.tmp", tmp_path / f".{name}.2.tmp"
    old.write_text("half")
    young.write_text("half")
    os.utime(old, (0, 0))
    cached(tmp_path, "toy", ("abc",), Decoder())
    assert kept(tmp_path) == sorted([young.name, name])


def test_the_digest_is_of_content_and_changes_with_each_piece_of_it():
    base = content_digest(samples(4), samples(2))
    assert content_digest(samples(4), samples(2)) == base
    renamed = samples(4)
    renamed.columns["label"] = Column(renamed.columns["label"].values, ("no", "maybe"))
    others = [
        (samples(4, 2), samples(2)),
        (samples(2), samples(4)),
        (renamed, samples(2)),
        (Samples(samples(4).inputs.view(4, 2, 1, 2), samples(4).columns), samples(2)),
    ]
    assert len({base, *(content_digest(*other) for other in others)}) == 5


def test_the_digest_of_files_sees_one_byte_and_where_a_file_ends(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    digests = []
    for first, second in ((b"", b"two/x"), (b"two/", b"x"), (b"two/", b"y")):
        one.write_bytes(first)
        two.write_bytes(second)
        digests.append(file_digest([one, two]))
    assert len(set(digests)) == 3


def test_the_default_folder_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(None) == tmp_path / "xdg" / "mtl"
    assert cache_folder(str(tmp_path / "mine")) == tmp_path / "mine"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder(None) == tmp_path / "home" / ".cache" / "mtl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(None) == tmp_path / "home" / ".cache" / "mtl"
