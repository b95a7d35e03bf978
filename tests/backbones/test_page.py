"""docs/backbones.md shows each family's stages; `python -m tests.backbones.test_page` prints the table anew."""

import sys
from pathlib import Path

import pytest
import torch
from torchvision import models

from mtl_cli.backbones.cutting import plan

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"
SHOWN = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet1_0",
    "mobilenet_v2", "mobilenet_v3_large", "regnet_y_400mf", "resnet50", "shufflenet_v2_x1_0", "squeezenet1_1", "swin_t",
    "swin_v2_t", "vgg16", "vit_b_16",
)  # fmt: skip
"""One of each family; the others of a family have the same stages, or more or wider ones of the same names."""


def line(model: str) -> str:
    """A row of the table: names, channels/stride, and the vector's width."""
    own = {"aux_logits": False, "init_weights": False} if model in ("googlenet", "inception_v3") else {}
    on_meta = torch.device("cpu" if model.startswith("regnet") else "meta")  # regnet reads values while it is built
    with on_meta:
        network = models.get_model(model, weights=None, **own).eval().to("meta")
    cut = plan(network, models.get_model_weights(model).DEFAULT.transforms().crop_size[0])
    assert cut is not None
    stages = ", ".join(f"`{name}` {where.channels}/{where.stride}" for name, where in cut.stages)
    return f"| `{model}` | {stages} | {cut.width:,} |"


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[] if name in ("resnet50", "vgg16") else [pytest.mark.slow]) for name in SHOWN]
)
def test_the_page_shows_the_stages_as_they_are_cut(model: str) -> None:
    assert line(model) in PAGE.read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_every_network_belongs_to_a_family_of_the_page() -> None:
    families = {models.get_model_builder(name).__module__ for name in SHOWN}
    assert {models.get_model_builder(name).__module__ for name in models.list_models(module=models)} == families


if __name__ == "__main__":
    sys.stdout.write("\n".join(line(model) for model in SHOWN) + "\n")
