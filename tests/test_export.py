"""`mtl export`: from a checkpoint to one verified file, with the data out of reach."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtl_cli.__main__ import main
from mtl_cli.beneath import packaged
from mtl_cli.commands import build, export, rebuild
from mtl_cli.commands.restore import Restored, restore
from mtl_cli.config import TABLES, Config
from mtl_cli.shipping.options import FORMATS
from mtl_cli.shipping.safetensors import SafetensorsFormat
from tests.data.idx import idx

SMALL = ["device=cpu", "device.threads=1", "trainer.batch_size=8", "trainer.max_steps=1", "backbone.channels=4",
         "backbone.depth=2", "plots=false", "tensorboard=false"]  # fmt: skip

PART_EACH = ["+data.parts.more=digits", "+data.parts.few=digits", "tasks.digit.part=images", "tasks.parity.part=more",
             "tasks.slant.part=few"]  # fmt: skip


def trained(folder: Path, *words: str) -> Path:
    assert main(["train", *SMALL, *words, f"run_dir={folder}"]) == 0
    return folder


class Runs:
    """A run for each sharing, made when it is asked for: digits with one task of each kind, a part each if need be."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._source_of = build.source_of

    def __getitem__(self, sharing: str) -> Path:
        run = self._root / sharing
        if not run.exists():
            option = packaged(TABLES["sharing"], sharing, {})
            parts = PART_EACH if TABLES["sharing"].target(option).data_set_a_task else []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(build, "source_of", self._source_of)
                trained(run, "data.limit=40", f"sharing={sharing}", *parts)
        return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Shared by the module; nobody writes into them but exports."""
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(runs: Runs, tmp_path: Path) -> Path:
    """A run of independent networks that was never exported, to write into."""
    exports = shutil.ignore_patterns("export")
    return Path(shutil.copytree(runs["independent"], tmp_path / "run", ignore=exports))


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch, runs: Runs) -> None:
    def unreadable(*_: Any) -> None:
        raise AssertionError("an export should not read the data")

    monkeypatch.setattr(build, "source_of", unreadable)


def verdict(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "verify.json").read_text())
    return found


def holds(folder: Path) -> dict[str, Any]:
    """verify.json, with its promises kept: each output, each batch, within tolerance, and the file as it says."""
    found = verdict(folder)
    outputs = {"digit": ["logits", "probabilities"], "parity": ["logits", "probabilities"], "slant": ["value"]}
    assert list(found["errors"]) == [f"{task}.{what}" for task in found["tasks"] for what in outputs[task]]
    for by_rows in found["errors"].values():
        assert list(by_rows) == ["1", "2", "7"]
        assert all(0 <= error <= found["tolerance"] for error in by_rows.values())
    assert sorted(path.name for path in folder.iterdir()) == sorted([found["file"], "verify.json"])
    assert (folder / found["file"]).stat().st_size == found["bytes"]
    return found


def test_one_task_of_independent_networks_is_smaller_than_the_joint_file(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", f"checkpoint={run}"]) == 0
    capsys.readouterr()
    assert main(["export", f"checkpoint={run}", "export.tasks=[parity]"]) == 0
    joint, one = holds(run / "export" / "pt2"), holds(run / "export" / "pt2-parity")
    assert (joint["tasks"], one["tasks"]) == (["digit", "parity", "slant"], ["parity"])
    assert one["bytes"] < joint["bytes"]
    assert joint["parameters"] == joint["joint"]["parameters"] == one["joint"]["parameters"] > 2.9 * one["parameters"]
    out, err = capsys.readouterr()
    assert err == ""
    assert max(len(line) for line in out.splitlines() if "/" not in line) <= 80
    said = " ".join(out.split())
    assert f"exported {one['parameters']:,} {one['bytes']:,}" in said
    assert f"joint checkpoint {one['joint']['parameters']:,} {one['joint']['bytes']:,}" in said
    assert out.splitlines()[-1].endswith("export/pt2-parity/model.pt2")


@pytest.mark.slow
def test_the_onnx_of_hard_sharing_is_verified(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs["hard"]
    capsys.readouterr()
    assert main(["export", f"checkpoint={run}", "export.format=onnx", "export.tasks=[slant,digit]"]) == 0
    found = holds(run / "export" / "onnx-digit-slant")
    assert found["tolerance"] == 1e-4
    assert set(found["versions"]) == {"mtl", "torch", "onnx", "onnxscript", "onnxruntime"}
    out, err = capsys.readouterr()
    assert err == ""
    assert len(out.splitlines()) == 7


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [None, "[slant]"])
@pytest.mark.parametrize("sharing", list(TABLES["sharing"]))
@pytest.mark.parametrize("name", list(FORMATS))
def test_every_sharing_is_exported_in_every_format(runs: Runs, name: str, sharing: str, tasks: str | None) -> None:
    words = [] if tasks is None else [f"export.tasks={tasks}"]
    assert main(["export", f"checkpoint={runs[sharing]}", f"export.format={name}", *words]) == 0
    holds(runs[sharing] / "export" / (name if tasks is None else f"{name}-slant"))


@pytest.mark.parametrize(
    ("sharing", "said"),
    [
        ("independent", []),
        ("cross_stitch", ["sharing=cross_stitch mixes all networks: the file keeps all 3"]),
        *(
            pytest.param(name, [f"sharing={name} mixes all networks: the file keeps all 3"], marks=pytest.mark.slow)
            for name in ("nddr", "sluice")
        ),
    ],
)
def test_where_all_networks_are_mixed_a_file_of_fewer_tasks_says_that_it_keeps_them(
    runs: Runs, sharing: str, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*words: str) -> list[str]:
        assert main(["export", f"checkpoint={runs[sharing]}", "export.format=safetensors", *words]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if "mixes all" in line]

    runs[sharing]
    capsys.readouterr()
    assert told("export.tasks=[slant,digit]") == said
    assert told() == []


def test_a_sweep_exports_each_and_leaves_nothing_else(run: Path, tmp_path: Path) -> None:
    words = ["export.format=safetensors", "export.tasks=[digit],[parity,slant]"]
    assert main(["export", "-m", f"checkpoint={run}", *words]) == 0
    assert sorted(path.name for path in (run / "export").iterdir()) == [
        "safetensors-digit",
        "safetensors-parity-slant",
    ]
    assert not (tmp_path / "runs").exists()


def test_weights_are_rebuilt_from_their_own_file_alone(run: Path) -> None:
    assert main(["export", f"checkpoint={run}", "export.format=safetensors", "export.tasks=[slant]"]) == 0
    file = run / "export" / "safetensors-slant" / "model.safetensors"
    text = file.read_bytes()
    assert str(run.parent).encode() not in text
    shutil.rmtree(run / "checkpoints")
    shipped = rebuild.load(file)
    with torch.no_grad():
        assert list(shipped(torch.rand(3, 1, 8, 8))) == ["slant.value"]


def test_weights_of_a_learned_tree_are_rebuilt_along_the_paths_that_it_found(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decided(config: Config, folder: Path) -> Restored:
        found = restore(config, folder)
        with torch.no_grad():
            for name, logits in found.model.sharing.decides().items():
                logits[..., 2 if name.startswith("parents.") else 1] = 1.0
        return found

    run = Path(shutil.copytree(runs["ltb"], tmp_path / "run"))
    monkeypatch.setattr(export, "restore", decided)
    assert main(["export", f"checkpoint={run}", "export.format=safetensors", "export.tasks=[slant]"]) == 0
    model = rebuild.load(run / "export" / "safetensors-slant" / "model.safetensors").model
    kept = {tuple(name.split(".")[1:4:2]) for name in model.sharing.state_dict()}
    assert kept == {("2", "stage1"), ("1", "stage2")}


def test_weights_of_decided_selectors_are_rebuilt_with_the_experts_that_they_select(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decided(config: Config, folder: Path) -> Restored:
        found = restore(config, folder)
        with torch.no_grad():
            for name, z in found.model.sharing.named_parameters():
                if name.endswith(".z"):
                    z.copy_(torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]]))
        return found

    run = Path(shutil.copytree(runs["dselect_k"], tmp_path / "run"))
    monkeypatch.setattr(export, "restore", decided)
    assert main(["export", f"checkpoint={run}", "export.format=safetensors", "export.tasks=[slant]"]) == 0
    model = rebuild.load(run / "export" / "safetensors-slant" / "model.safetensors").model
    kept = {name.split(".")[1] for name in model.sharing.state_dict() if name.startswith("experts.")}
    assert kept == {"1", "2"}


def test_a_checkpoint_that_was_copied_away_is_exported_beside_itself(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / "kept"
    shutil.copytree(run / "checkpoints" / (run / "checkpoints" / "best").read_text(), folder)
    assert main(["export", f"checkpoint={folder}", "export.format=safetensors"]) == 0
    holds(folder.parent / "kept-export" / "safetensors")


def test_a_spoiled_file_is_an_error_and_is_not_left_behind(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", f"checkpoint={run}", "export.format=safetensors"]
    faithful = SafetensorsFormat.write

    def spoiled(self: SafetensorsFormat, shipped: Any, *rest: Any) -> None:
        with torch.no_grad():
            for name, parameter in shipped.named_parameters():
                parameter.add_(1e-3 if "task:slant" in name and name.endswith("weight") else 0.0)
        faithful(self, shipped, *rest)

    monkeypatch.setattr(SafetensorsFormat, "write", spoiled)
    assert main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("mtl: the exported slant.value differs from the model's by ")
    assert err.count("\n") == 1
    assert not (run / "export").exists()
    monkeypatch.setattr(SafetensorsFormat, "write", faithful)
    assert main(words) == 0
    good = verdict(run / "export" / "safetensors")["sha256"]
    monkeypatch.setattr(SafetensorsFormat, "write", spoiled)
    assert main(words) == 1
    assert holds(run / "export" / "safetensors")["sha256"] == good
    assert export.digest(run / "export" / "safetensors" / "model.safetensors") == good


def test_a_damaged_checkpoint_is_not_exported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / "checkpoints" / (run / "checkpoints" / "best").read_text() / "meta.json"
    file.write_text(file.read_text() + " ")
    assert main(["export", f"checkpoint={run}"]) == 2
    assert "meta.json is not what manifest.json says" in capsys.readouterr().err
    assert not (run / "export").exists()


def test_a_failing_exporter_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: Any) -> None:
        sys.stdout.write("a page of advice\n")
        raise RuntimeError("\nno such operator\nand how to get it")

    monkeypatch.setattr(SafetensorsFormat, "write", failing)
    assert main(["export", f"checkpoint={run}", "export.format=safetensors"]) == 1
    out, err = capsys.readouterr()
    assert err == "mtl: the model could not be exported: RuntimeError: no such operator\n"
    assert "advice" not in out


def test_two_parts_ship_with_the_normalisation_of_each_and_one_with_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for variant, level in (("MNIST", 50), ("FashionMNIST", 200)):
        raw = tmp_path / "data" / variant / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 30), ("t10k", 10)):
            pictures = np.random.default_rng(level).integers(0, level, (count, 28, 28))
            idx(raw / f"{part}-images-idx3-ubyte", pictures)
            idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    run = trained(tmp_path / "run", "task=mnist_fashion", "data.parts.fashion.flip=false", f"data_dir={tmp_path}/data")
    shutil.rmtree(tmp_path / "data")
    for words in ([], ["export.tasks=[garment]"]):
        assert main(["export", f"checkpoint={run}", "export.format=safetensors", *words]) == 0
    names = ("safetensors", "safetensors-garment")
    both, one = (rebuild.load(run / "export" / name / "model.safetensors") for name in names)
    assert list(both.normalise) == ["task:mnist", "task:fashion"]
    assert list(one.normalise) == list(one.model.statistics) == ["task:fashion"]
    images = torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(both(images)["garment.logits"], one(images)["garment.logits"])


def test_the_script_of_the_docs_loads_each_format_without_mtl(run: Path, tmp_path: Path) -> None:
    for name in FORMATS:
        assert main(["export", f"checkpoint={run}", f"export.format={name}"]) == 0
        assert holds(run / "export" / name)["tolerance"] == (1e-4 if name == "onnx" else 1e-5)
    page = (Path(__file__).parents[1] / "docs" / "shipping.md").read_text()
    script = page.partition("```python use_model.py\n")[2].partition("```")[0]
    assert len([line for line in script.splitlines() if line]) == 10
    assert "mtl_cli" not in script
    script = script.replace("images = ", "numpy.random.seed(0); images = ")
    (tmp_path / "use_model.py").write_text(script)
    command = [sys.executable, "-P", str(tmp_path / "use_model.py"), str(run / "export")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    onnx, pt2, safetensors = done.stdout.splitlines()
    assert onnx.removeprefix("onnx ") == pt2.removeprefix("pt2 ")
    assert onnx.count("'") == 8
    assert safetensors.endswith(" tensors of digit parity slant")
