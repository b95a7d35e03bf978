"""Pretrained weights: from a file with the network's own keys, by name, and what they ask of the images."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models
from torchvision.models import MobileNet_V3_Small_Weights, WeightsEnum

from mtl_cli.backbones import weights
from mtl_cli.backbones.base import Wanted
from mtl_cli.backbones.options import BACKBONES, Torchvision
from mtl_cli.backbones.torchvision import TorchvisionBackbone
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError
from tests.backbones.test_torchvision import images, own_key
from tests.options import default

MODEL = "mobilenet_v3_small"
SHAPE = (3, 32, 32)


def option(**changes: object) -> Torchvision:
    found: Torchvision = default(BACKBONES, "torchvision", **{"model": MODEL, **changes})
    return found


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(7)
    return dict(models.get_model(MODEL, weights=None).state_dict())


def saved(state: dict[str, Tensor], file: Path) -> str:
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return str(file)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
def test_a_file_with_the_networks_own_keys_is_taken_over_whole(
    tmp_path: Path, state: dict[str, Tensor], name: str
) -> None:
    file = saved(state, tmp_path / name)
    backbone = TorchvisionBackbone.new(option(weights=file), InputSpec(SHAPE))
    for key, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, state[own_key(key)]), key
    whole = models.get_model(MODEL, weights=None).eval()
    whole.load_state_dict(state)
    pooled = whole.avgpool(whole.features(images(32))).flatten(1)
    assert torch.equal(backbone.eval()(images(32)).vector, whole.classifier[:3](pooled))


def test_the_classifier_may_be_missing_or_another_and_counters_may_be_missing(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    less = {k: t for k, t in state.items() if not k.startswith("classifier.3") and "num_batches" not in k}
    for name, extra in (("none", {}), ("ten", {"classifier.3.weight": torch.zeros(10, 1024)})):
        file = saved({**less, **extra}, tmp_path / f"{name}.pth")
        backbone = TorchvisionBackbone.new(option(weights=file), InputSpec(SHAPE))
        assert torch.equal(
            backbone.stages["features_0"].body.state_dict()["features.0.0.weight"], state["features.0.0.weight"]
        )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("missing", r"does not fit in 14 keys: features.1.\S+ is missing, features\S+ is missing, .* and 11 more$"),
        ("odd", r"does not fit in 1 key: odd.weight is not the model's$"),
        ("shape", r"does not fit in 1 key: features.0.0.weight is \(1, 2\), not \(16, 3, 3, 3\)$"),
    ],
)
def test_a_file_of_another_network_is_one_line_that_counts_and_names(
    tmp_path: Path, state: dict[str, Tensor], change: str, line: str
) -> None:
    changed = {
        "missing": {k: t for k, t in state.items() if not k.startswith("features.1.")},
        "odd": {**state, "odd.weight": torch.zeros(1)},
        "shape": {**state, "features.0.0.weight": torch.zeros(1, 2)},
    }[change]
    file = saved(changed, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=rf"^backbone.weights=\S+ {line}") as found:
        TorchvisionBackbone.new(option(weights=file), InputSpec(SHAPE))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("content", "name", "line"),
    [
        (b"no weights", "w.pth", "cannot be read as weights"),
        (b"no weights", "w.safetensors", "cannot be read as weights"),
        ([1, 2], "w.pt", "should hold tensors by key"),
        (print, "w.pt", "cannot be read as weights"),
    ],
)
def test_a_file_that_holds_no_weights_is_one_line(tmp_path: Path, content: object, name: str, line: str) -> None:
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ConfigError, match=f"backbone.weights={file} {line}") as found:
        TorchvisionBackbone.new(option(weights=str(file)), InputSpec(SHAPE))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("IMAGENET1K_V3", r"is not known for mobilenet_v3_small: did you mean IMAGENET1K_V1\?"),
        ("nowhere/w.pth", r"is not there: name a file, or IMAGENET1K_V1, DEFAULT"),
        ("w.pth", "is not there: name a file"),
    ],
)
def test_weights_that_there_are_not_are_one_line_before_any_data_is_read(name: str, line: str) -> None:
    with pytest.raises(ConfigError, match=f"backbone.weights={name} {line}"):
        TorchvisionBackbone.wants(option(weights=name))


def test_weights_that_cannot_be_fetched_are_one_line_with_the_file_and_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no way there")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)
    with pytest.raises(ConfigError) as found:
        TorchvisionBackbone.new(option(weights="DEFAULT"), InputSpec(SHAPE))
    url = MobileNet_V3_Small_Weights.DEFAULT.url
    file = url.rpartition("/")[2]
    assert str(found.value) == (
        f"backbone.weights=DEFAULT cannot be fetched (<urlopen error no way there>): put {url} at "
        f"{tmp_path}/checkpoints/{file}, or name a copy of it with backbone.weights=PATH/{file}"
    )


def test_weights_by_name_are_found_where_torchvision_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / MobileNet_V3_Small_Weights.DEFAULT.url.rpartition("/")[2]
    file.parent.mkdir()
    torch.save(state, file)
    found = weights.read(MODEL, "DEFAULT")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in state.items())


class Spoiled:
    """Leaves a file where it is unpickled as code."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_spoiled_file_among_torchvisions_own_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / MobileNet_V3_Small_Weights.DEFAULT.url.rpartition("/")[2]
    file.parent.mkdir()
    torch.save({"weight": Spoiled(tmp_path / "mark")}, file)
    with pytest.raises(ConfigError, match="cannot be fetched"):
        weights.read(MODEL, "DEFAULT")
    assert not (tmp_path / "mark").exists()


def test_old_names_of_densenets_layers_are_understood(tmp_path: Path) -> None:
    names = ["features.denseblock1.denselayer1.norm.1.weight", "features.denseblock1.denselayer1.norm.1.running_mean"]
    file = saved(dict.fromkeys(names, torch.zeros(1)), tmp_path / "w.pth")
    assert list(weights.read("densenet121", file)) == [name.replace("norm.1", "norm1") for name in names]


def test_weights_bring_the_size_and_the_scale_that_they_were_trained_with(tmp_path: Path) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert TorchvisionBackbone.wants(option()) == Wanted(None, None, None)
    assert TorchvisionBackbone.wants(option(size=48)) == Wanted((48, 48), None, None)
    assert TorchvisionBackbone.wants(option(weights="DEFAULT")) == Wanted((224, 224), mean, std)
    assert TorchvisionBackbone.wants(option(weights="DEFAULT", size=48)) == Wanted((48, 48), mean, std)
    assert TorchvisionBackbone.wants(option(model="inception_v3", weights="IMAGENET1K_V1")).size == (299, 299)
    half = TorchvisionBackbone.wants(option(model="vit_b_16", weights="IMAGENET1K_SWAG_E2E_V1"))
    assert half.size == (384, 384)
    (tmp_path / "w.pth").touch()
    assert TorchvisionBackbone.wants(option(weights=str(tmp_path / "w.pth"))) == Wanted((224, 224), mean, std)


def test_a_backbone_that_a_checkpoint_will_fill_needs_no_file() -> None:
    assert TorchvisionBackbone(option(weights="DEFAULT"), InputSpec(SHAPE)).spec.width == 1024
