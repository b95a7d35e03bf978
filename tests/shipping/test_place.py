"""Files take their places together or not at all."""

from pathlib import Path

import pytest

from mtl_cli.shipping.place import aside


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fail(final: Path) -> None:
    with aside(final) as folder:
        (folder / "model").write_text("half")
        raise RuntimeError


def test_files_take_their_places_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "export" / "onnx"
    for text in ("first", "second"):
        with aside(final) as folder:
            (folder / "model").write_text(text)
            (folder / "verdict").write_text(text)
        assert tree(tmp_path) == {"export/onnx/model": text, "export/onnx/verdict": text}


def test_what_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    final = tmp_path / "export" / "onnx"
    with pytest.raises(RuntimeError):
        fail(final)
    assert list(tmp_path.iterdir()) == []
    with aside(final) as folder:
        (folder / "model").write_text("good")
    with pytest.raises(RuntimeError):
        fail(final)
    assert tree(tmp_path) == {"export/onnx/model": "good"}


def test_what_a_kill_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".onnx.tmp-killed").mkdir()
    (tmp_path / ".onnx.tmp-killed" / "model").write_text("half")
    (tmp_path / ".pt2.tmp-other").mkdir()
    with aside(tmp_path / "onnx") as folder:
        (folder / "model").write_text("good")
    assert tree(tmp_path) == {"onnx/model": "good"}
    assert (tmp_path / ".pt2.tmp-other").is_dir()
