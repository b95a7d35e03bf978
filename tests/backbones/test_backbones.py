"""Every backbone of the table: stages that run one after the other, and specs that tell what their tensors are."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from mtl_cli.backbones.base import Backbone, BackboneFactory, Pool
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError
from tests.backbones.inputs import given
from tests.backbones.inputs import inputs as samples
from tests.options import build

SHAPE = (3, 32, 32)
EVERY = pytest.mark.parametrize("name", list(BACKBONES))


def made(name: str, shape: tuple[int, ...] | None = None, **changes: object) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = build(BACKBONES, name, given(name) if shape is None else InputSpec(shape), **changes)
    return backbone.eval()


def images(rows: int = 2, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(1))


def pairs(tensors: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of one layer after the other."""
    found = list(tensors)
    return list(zip(found[::2], found[1::2], strict=True))


@EVERY
def test_stages_one_after_the_other_and_the_neck_are_the_backbone(name: str) -> None:
    backbone = made(name)
    inputs = samples(given(name))
    kept = inputs.clone()
    features = backbone(inputs)
    assert torch.equal(inputs, kept)  # nothing writes into what came before it
    tensor = inputs
    for stage_name, stage in backbone.stages.items():
        tensor = stage(tensor)
        assert torch.equal(features.stages[stage_name], tensor)
    assert torch.equal(features.vector, backbone.neck(tensor))
    assert list(features.stages) == list(backbone.stages)
    assert features.trunk is features.vector


@EVERY
def test_the_spec_tells_what_the_tensors_show(name: str) -> None:
    backbone = made(name)
    features = backbone(samples(given(name)))
    assert features.vector.shape == (2, backbone.spec.width)
    assert [stage.name for stage in backbone.spec.stages] == list(features.stages)
    for stage in backbone.spec.stages:
        tensor = features.stages[stage.name]
        assert tensor.dim() == {"map": 4, "sequence": 3, "vector": 2}[stage.kind]
        assert tensor.shape[2 if stage.kind == "sequence" else 1] == stage.channels
        if stage.kind == "map":  # a border that is not padded is lost
            assert all(SHAPE[1] / stage.stride / 2 < side <= SHAPE[1] / stage.stride for side in tensor.shape[2:])
        assert backbone.spec.stage(stage.name) is stage


@EVERY
def test_gradients_pass_from_every_stage_to_all_that_lies_before_it(name: str) -> None:
    backbone = made(name).train()
    leaf = samples(given(name)).requires_grad_()
    features = backbone(leaf)
    tensors = [leaf, *features.stages.values(), features.vector]
    for i, tensor in enumerate(tensors[1:]):
        seen = torch.autograd.grad(tensor.sum(), tensors[: i + 1], retain_graph=True, allow_unused=True)
        assert all(gradient is not None for gradient in seen)


@EVERY
def test_copies_of_a_factory_start_equal_and_share_nothing(name: str) -> None:
    factory = BackboneFactory(made(name))
    first, second = factory(), factory()
    assert first.spec == factory.spec
    assert first.state_dict().keys() == second.state_dict().keys()
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key])
        tensor.add_(1)
    third = factory().state_dict()
    for key, tensor in first.state_dict().items():
        assert not torch.equal(tensor, second.state_dict()[key])
        assert torch.equal(second.state_dict()[key], third[key])


def test_mlp_is_its_linear_layers_with_relu() -> None:
    backbone = made("mlp", (2, 3), hidden=[4, 5])
    inputs = images(7, (2, 3))
    w1, b1, w2, b2 = backbone.state_dict().values()
    expected = ((inputs.reshape(7, 6) @ w1.T + b1).clamp_min(0) @ w2.T + b2).clamp_min(0)
    torch.testing.assert_close(backbone(inputs).vector, expected)


def test_mlp_drops_its_share_of_hidden_units_in_training_only() -> None:
    backbone = made("mlp", (6,), hidden=[1000], dropout=0.75)
    inputs = images(5, (6,))
    whole, dropped = backbone(inputs).vector, backbone.train()(inputs).vector
    was = whole > 0
    assert float((dropped[was] == 0).float().mean()) == pytest.approx(0.75, abs=0.05)
    kept = was & (dropped > 0)
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.25)


def test_cnn_without_norm_is_its_convolutions_maxima_and_sums_and_keeps_no_buffer() -> None:
    backbone = made("cnn", (1, 9, 8), channels=2, depth=2, norm="none")
    assert list(backbone.buffers()) == []
    (w1, b1), (w2, b2), (w3, b3), (w4, b4) = pairs(backbone.state_dict().values())
    assert [tuple(w.shape) for w in (w1, w2, w3, w4)] == [(2, 1, 3, 3), (4, 2, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3)]
    tensor = images(3, (1, 9, 8))
    tensor = functional.max_pool2d(functional.conv2d(tensor, w1, b1, padding=1), 2).relu()
    tensor = functional.max_pool2d(functional.conv2d(tensor, w2, b2, padding=1), 2).relu()
    added = functional.conv2d(functional.conv2d(tensor, w3, b3, padding=1).relu(), w4, b4, padding=1).relu()
    expected = (tensor + added).flatten(2).mean(2)
    torch.testing.assert_close(backbone(images(3, (1, 9, 8))).vector, expected)


def test_cnn_normalises_after_every_convolution_which_then_needs_no_bias() -> None:
    backbone = made("cnn", channels=4, depth=3, norm="batch")
    kinds = [type(m) for m in backbone.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d] * 7
    assert all(m.bias is None for m in backbone.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 31, 32])
def test_cnn_takes_as_many_stages_as_its_error_says_and_no_more(size: int) -> None:
    with pytest.raises(ConfigError, match=rf"backbone.depth=9 halves {size}x40 images too often: at most") as found:
        made("cnn", (1, size, 40), channels=1, depth=9)
    deepest = int(str(found.value).split()[-1])
    if deepest:
        features = made("cnn", (1, size, 40), channels=1, depth=deepest)(images(2, (1, size, 40)))
        assert features.stages[f"stage{deepest}"].shape[2] == 1
    with pytest.raises(ConfigError):
        made("cnn", (1, size, 40), channels=1, depth=deepest + 1)


@pytest.mark.parametrize("name", ["cnn", "lenet", "resnet18_cifar"])
def test_a_backbone_for_images_refuses_vectors_and_names_one_for_them(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"backbone.name={name} takes images. .*\(6,\): take backbone=mlp"):
        made(name, (6,))


@pytest.mark.parametrize(("shape", "flat"), [((1, 28, 28), 320), ((1, 36, 36), 720), ((3, 28, 36), 480)])
def test_lenet_is_sener_and_koltuns_encoder(shape: tuple[int, ...], flat: int) -> None:
    backbone, inputs = made("lenet", shape), images(3, shape)
    (w1, b1), (w2, b2), (w3, b3) = pairs(backbone.state_dict().values())
    assert [tuple(w.shape) for w in (w1, w2, w3)] == [(10, shape[0], 5, 5), (20, 10, 5, 5), (50, flat)]
    tensor = functional.max_pool2d(functional.conv2d(inputs, w1, b1), 2).relu()
    tensor = functional.max_pool2d(functional.conv2d(tensor, w2, b2), 2).relu()
    expected = (tensor.reshape(3, -1) @ w3.T + b3).relu()
    torch.testing.assert_close(backbone(inputs).vector, expected)


def test_lenet_drops_whole_channels_of_its_second_map_in_training() -> None:
    backbone = made("lenet", (1, 28, 28), dropout=0.5)
    whole = backbone(images(64, (1, 28, 28))).stages["conv2"]
    dropped = backbone.train()(images(64, (1, 28, 28))).stages["conv2"]
    same = torch.isclose(dropped, 2 * whole, atol=1e-6).flatten(2).all(2)
    gone = (dropped == dropped[:, :, :1, :1]).flatten(2).all(2)
    assert bool((same | gone).all())
    assert float((gone & ~same).float().mean()) == pytest.approx(0.5, abs=0.06)


def test_lenet_says_how_small_an_image_may_be() -> None:
    made("lenet", (1, 16, 16))
    with pytest.raises(ConfigError, match=r"takes images of at least 16x16. Found 15x40: take backbone=cnn$"):
        made("lenet", (1, 15, 40))


def test_resnet18_for_small_images_has_the_parameters_of_torchvisions_but_for_stem_and_classifier() -> None:
    backbone, whole = made("resnet18_cifar"), resnet18(weights=None)
    assert sum(p.numel() for p in whole.parameters()) == 11_689_512
    found = sum(p.numel() for p in backbone.parameters())
    assert found == 11_689_512 - (512 * 1000 + 1000) - 64 * 3 * 7 * 7 + 64 * 3 * 3 * 3


def test_resnet18_for_small_images_is_torchvisions_after_the_stem() -> None:
    backbone, whole = made("resnet18_cifar"), resnet18(weights=None).eval()
    shapes = [tuple(p.shape) for p in backbone.parameters()][1:]
    weights = dict(whole.named_parameters())
    assert shapes == [tuple(p.shape) for name, p in weights.items() if name != "conv1.weight" and "fc" not in name]
    with torch.no_grad():
        for mine, (name, its) in zip(list(backbone.parameters())[1:], list(weights.items())[1:], strict=False):
            assert mine.shape == its.shape, name
            its.copy_(mine)
    stem = backbone.stages["stem"](images())
    expected = whole.layer4(whole.layer3(whole.layer2(whole.layer1(stem))))
    torch.testing.assert_close(backbone(images()).vector, whole.avgpool(expected).flatten(1))


@pytest.mark.parametrize(("kind", "shape"), [("map", (2, 3, 4, 5)), ("sequence", (2, 6, 3)), ("vector", (2, 3))])
def test_pooling_is_the_mean_over_all_but_batch_and_channels(kind: str, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape)
    channels_last = tensor.movedim(1, -1) if kind == "map" else tensor
    expected = channels_last.reshape(2, -1, 3).mean(1)
    torch.testing.assert_close(Pool(kind)(tensor), expected)


@pytest.mark.parametrize(("side", "stages"), [(2, 1), (3, 1), (4, 1), (8, 2), (15, 2), (16, 3), (28, 3), (224, 3)])
def test_a_cnn_of_no_given_depth_halves_until_the_side_is_2_and_three_times_at_most(side: int, stages: int) -> None:
    assert len(made("cnn", (1, side, side + 5), depth=None, channels=2).spec.stages) == stages
