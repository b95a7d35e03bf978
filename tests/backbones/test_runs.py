"""Runs with pretrained weights: size and scale reach the model, a checkpoint stands alone, what is frozen stays so."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision import models

from mtl_cli.__main__ import main

MODEL = "squeezenet1_1"
SMALL = ["task=digits", "data.limit=40", "device=cpu", "device.threads=1", "trainer.batch_size=8"]


def tensors(run: Path, name: str) -> dict[str, Tensor]:
    return load_file(run / "checkpoints" / name / "model.safetensors")


def final(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["test"]
    return found


@pytest.mark.slow
def test_a_pretrained_run_is_frozen_resumed_and_evaluated_without_the_file(tmp_path: Path) -> None:
    torch.manual_seed(4)
    state = models.get_model(MODEL, weights=None).state_dict()
    file, run = tmp_path / "w.pth", tmp_path / "run"
    torch.save(state, file)
    words = ["backbone=torchvision", f"backbone.model={MODEL}", f"backbone.weights={file}", "backbone.size=32"]
    frozen = "backbone.freeze=features_4"
    assert main(["train", *SMALL, *words, frozen, "trainer.max_steps=2", f"run_dir={run}"]) == 0
    file.unlink()
    assert main(["train", f"resume={run}", "trainer.max_steps=4", "device=cpu", "device.threads=1"]) == 0
    meta = json.loads((run / "checkpoints" / "step-00000004" / "meta.json").read_text())
    assert meta["shape"] == [3, 32, 32]
    assert meta["preparations"]["images"]["size"] == [32, 32]
    assert meta["preparations"]["images"]["mean"] == pytest.approx([255 * x for x in (0.485, 0.456, 0.406)])
    last = tensors(run, "step-00000004")
    prefix = "sharing.backbone.stages."
    for key in (key for key in last if key.startswith(prefix)):
        stage, _, own = key.removeprefix(prefix).partition(".body.")
        assert torch.equal(last[key], state[own]) == (stage in ("features_0", "features_4")), key
    assert main(["eval", f"checkpoint={run}"]) == 0
    (result,) = run.glob("eval/*-test.json")
    assert json.loads(result.read_text())["test"] == final(run)


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["sum", "pcgrad"])
def test_recomputing_trains_exactly_the_same_model_on_two_parts_too(tmp_path: Path, aggregation: str) -> None:
    parts = ["data.parts.more={name: digits}", "tasks.parity.part=more", "tasks.digit.part=images"]
    words = [*SMALL, *(f"+{part}" if "more=" in part else part for part in parts), "tasks.slant=null"]
    words += ["backbone=torchvision", "backbone.size=32", "trainer.max_steps=2", f"aggregation={aggregation}"]
    found = []
    for flag in ("false", "true"):
        run = tmp_path / flag
        assert main(["train", *words, f"backbone.gradient_checkpointing={flag}", f"run_dir={run}"]) == 0
        found.append(tensors(run, "step-00000002"))
    assert found[0].keys() == found[1].keys()
    for key, tensor in found[0].items():
        assert torch.equal(tensor, found[1][key]), key
