"""torchvision's networks in stages: exactly the original, whatever the family, mode, size and number of images."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from mtl_cli.backbones.base import Backbone, BackboneFactory
from mtl_cli.backbones.cutting import plan
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.backbones.torchvision import _opaque
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError
from mtl_cli.sharing.options import SHARINGS
from tests.options import build

SIDES = {"alexnet": 64, "inception_v3": 96, "maxvit_t": 224}
"""Of small images that a family takes, where 32 is not enough."""
LARGER = ("vgg", "squeezenet", "densenet", "googlenet", "swin_v2")
HUGE = ("regnet_y_128gf", "vit_h_14", "regnet_x_32gf", "regnet_y_32gf")
"""0.4 to 2.6 GB of weights; their families' other members stand for them."""
FAST = ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "swin_t"]
MODELS = [name for name in models.list_models(module=models) if name not in HUGE]
EVERY = pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in MODELS]
)


def side_of(model: str) -> int:
    return SIDES.get(model, 64 if model.startswith(LARGER) else 32)


def images(side: int, rows: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(rows, channels, side, side, generator=torch.Generator().manual_seed(1))


def made(model: str, shape: tuple[int, ...] | None = None, **changes: object) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = build(
        BACKBONES, "torchvision", InputSpec(shape or (3, *[side_of(model)] * 2)), model=model, **changes
    )
    return backbone


def original(model: str) -> nn.Module:
    """The network as torchvision builds it, with the same weights as `made` gives."""
    own: dict[str, object] = {}
    if model in ("googlenet", "inception_v3"):
        own = {"aux_logits": False, "init_weights": True}
    if model.startswith("vit"):
        own = {"image_size": side_of(model)}
    torch.manual_seed(0)
    network: nn.Module = models.get_model(model, weights=None, **own)
    return network


class Penultimate:
    """What a network's last linear layer is given; of SqueezeNet, which has none, the mean of its classifier's map."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
        last = linear[-1] if linear else network.classifier[1]
        last.register_forward_pre_hook(self._note)

    def _note(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._seen = args[0]

    def __call__(self, inputs: Tensor) -> Tensor:
        self._network(inputs)
        return self._seen.mean((2, 3)) if self._seen.dim() == 4 else self._seen


def own_key(key: str) -> str:
    """A backbone's key as torchvision calls it."""
    return key.partition(".body.")[2] or key.removeprefix("neck.")


@pytest.fixture(scope="module")
def pairs() -> Iterator[dict[str, tuple[Backbone, nn.Module]]]:
    """Backbones and originals that were built already: building takes longer than running."""
    built: dict[str, tuple[Backbone, nn.Module]] = {}
    yield built
    built.clear()


def pair(model: str, built: dict[str, tuple[Backbone, nn.Module]]) -> tuple[Backbone, nn.Module]:
    if model not in FAST:
        return made(model), original(model)
    if model not in built:
        built[model] = made(model), original(model)
    backbone, whole = built[model]
    whole.load_state_dict({own_key(k): t for k, t in backbone.state_dict().items()}, strict=False)
    return backbone, whole


@EVERY
def test_stages_and_neck_are_the_original_up_to_its_last_layer(
    model: str, pairs: dict[str, tuple[Backbone, nn.Module]]
) -> None:
    backbone, whole = pair(model, pairs)
    expected, inputs = Penultimate(whole), images(side_of(model))
    kept = inputs.clone()
    for training in (False, True):
        torch.manual_seed(5)
        whole.train(training)
        vector = expected(inputs)
        torch.manual_seed(5)
        features = backbone.train(training)(inputs)
        assert torch.equal(features.vector, vector)
        assert torch.equal(inputs, kept)
    tensor = inputs
    backbone.eval()
    with torch.no_grad():
        features = backbone(inputs)
        for stage in backbone.spec.stages:
            tensor = backbone.stages[stage.name](tensor)
            assert torch.equal(features.stages[stage.name], tensor)  # the next one did not write into it
            assert tensor.shape[1 if stage.kind == "map" else 2] == stage.channels
            assert tensor.dim() == {"map": 4, "sequence": 3}[stage.kind]
    assert features.vector.shape == (2, backbone.spec.width)


@EVERY
def test_keys_are_the_originals_without_those_of_the_last_layer(
    model: str, pairs: dict[str, tuple[Backbone, nn.Module]]
) -> None:
    backbone, whole = pair(model, pairs)
    keys = [own_key(key) for key in backbone.state_dict()]
    theirs = list(whole.state_dict())
    assert len(set(keys)) == len(keys)
    assert len({key.rpartition(".")[0] for key in set(theirs) - set(keys)}) == 1
    assert set(keys) <= set(theirs)


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v3_small", "googlenet", "swin_t"])
def test_other_sizes_and_numbers_of_images_give_what_the_original_gives(
    model: str, pairs: dict[str, tuple[Backbone, nn.Module]]
) -> None:
    backbone, whole = pair(model, pairs)
    expected = Penultimate(whole.eval())
    backbone.eval()
    for shape in ((1, 3, 96, 64), (5, 3, 71, 80)):
        inputs = torch.randn(*shape)
        with torch.no_grad():
            assert torch.equal(backbone(inputs).vector, expected(inputs))


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        ("resnet18", [("bn1", 64, 2), ("layer1", 64, 4), ("layer2", 128, 8), ("layer3", 256, 16), ("layer4", 512, 32)]),
        ("swin_t", [("features_1", 96, 4), ("features_3", 192, 8), ("features_5", 384, 16), ("norm", 768, 32)]),
        (
            "vit_b_32",
            [(name, 768, 32) for name in ("encoder_layer_2", "encoder_layer_5", "encoder_layer_8", "ln")],
        ),
        (
            "squeezenet1_1",
            [("features_0", 64, 2), ("features_4", 128, 4), ("features_7", 256, 8), ("features_12", 512, 16)],
        ),
    ],
)
def test_stages_end_where_the_resolution_changes(model: str, stages: list[tuple[str, int, int]]) -> None:
    with torch.device("meta"):
        backbone = made(model)
    assert [(s.name, s.channels, s.stride) for s in backbone.spec.stages] == stages


@pytest.mark.parametrize("model", ["resnet18", "swin_t"])
def test_one_channel_is_repeated_to_three(model: str, pairs: dict[str, tuple[Backbone, nn.Module]]) -> None:
    side = side_of(model)
    grey = made(model, (1, side, side)).eval()
    _, whole = pair(model, pairs)
    whole.load_state_dict({own_key(k): t for k, t in grey.state_dict().items()}, strict=False)
    inputs = images(side, channels=1)
    assert torch.equal(grey(inputs).vector, Penultimate(whole.eval())(inputs.repeat(1, 3, 1, 1)))


def test_a_copy_goes_its_own_way_and_keeps_the_mode() -> None:
    backbone = made("resnet18").eval()
    inputs, before = images(32), made("resnet18").eval()(images(32)).vector
    twin = BackboneFactory(backbone)()
    with torch.no_grad():
        for tensor in twin.parameters():
            tensor.add_(1)
    assert torch.equal(backbone(inputs).vector, before)
    assert not torch.equal(twin(inputs).vector, before)
    assert not any(module.training for module in copy.deepcopy(backbone).modules() if not list(module.children()))


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("resnet5", r"backbone.model=resnet5 is no network of torchvision: did you mean resnet50\?"),
        ("qqq", r"backbone.model=qqq is no network of torchvision: docs/backbones.md lists the families"),
    ],
)
def test_an_unknown_network_is_answered_with_the_nearest(model: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        made(model, (3, 32, 32))


@pytest.mark.parametrize(
    ("model", "side", "works"),
    [
        ("alexnet", 32, 64),
        pytest.param("inception_v3", 32, 96, marks=pytest.mark.slow),
        ("vit_b_32", 40, 64),
        pytest.param("maxvit_t", 64, 224, marks=pytest.mark.slow),
    ],
)
def test_a_size_that_the_network_rejects_is_answered_with_one_that_works(model: str, side: int, works: int) -> None:
    with pytest.raises(ConfigError, match=rf"backbone.model={model} does not take {side}x{side}") as found:
        made(model, (3, side, side))
    assert "\n" not in str(found.value)
    assert str(found.value).endswith(f"set backbone.size={works}")


@pytest.mark.parametrize("shape", [(6,), (4, 32, 32)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"backbone.name=torchvision takes images of 1 or 3 channels"):
        made("resnet18", shape)


class Forked(nn.Module):
    """A network whose way depends on what it sees, which no tracing follows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(4, 9)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.layers(inputs if inputs.sum() > 0 else -inputs))
        return found


def test_what_cannot_be_cut_is_one_stage_that_cross_stitch_refuses() -> None:
    network = Forked()
    assert plan(network.to("meta"), 32) is None
    network = Forked()
    backbone = Backbone(*_opaque(network, "classifier", recompute=False))
    features = backbone(images(8))
    expected = network.layers(images(8) if images(8).sum() > 0 else -images(8))
    assert torch.equal(features.vector, expected)
    assert (backbone.spec.width, backbone.spec.opaque) == (4, True)
    with pytest.raises(ConfigError, match=r"sharing=cross_stitch .* cannot be cut into stages: take another"):
        build(SHARINGS, "cross_stitch", BackboneFactory(backbone), {"a": 2, "b": 2})
