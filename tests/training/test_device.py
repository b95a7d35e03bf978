"""What is left to the device is settled by what it has."""

import msgspec
import pytest
import torch

from mtl_cli.beneath import CONF, section
from mtl_cli.training.device import settled_precision
from mtl_cli.training.options import TrainerOptions


def options(precision: str) -> TrainerOptions:
    """The defaults, but for the precision."""
    return msgspec.convert({**section(CONF / "trainer" / "default.yaml"), "precision": precision}, TrainerOptions)


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_auto_is_bf16_on_gpus_that_have_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", None)
    assert settled_precision(options("auto"), torch.device("cuda", 1)) == precision


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_auto_is_fp32_elsewhere_and_what_is_asked_for_stays(device: str) -> None:
    assert settled_precision(options("auto"), torch.device(device)) == "fp32"
    assert settled_precision(options("bf16"), torch.device(device)) == "bf16"
