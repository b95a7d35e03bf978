"""torchvision's classification networks, cut into stages."""

import copy
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torchvision import models

from mtl_cli.backbones import pieces, weights
from mtl_cli.backbones.base import Backbone, Spec, StageSpec, Wanted
from mtl_cli.backbones.cutting import plan
from mtl_cli.backbones.options import Torchvision
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError

SIDES = (32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512)
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
REJECTIONS = (RuntimeError, ValueError, AssertionError)


class Network(NamedTuple):
    """A whole network with random weights; its twin on the meta device; the side of images that it was made for."""

    whole: nn.Module
    skeleton: nn.Module
    side: int


class TorchvisionBackbone(Backbone):
    """A network of torchvision.models without its last linear layer, cut where `cutting` says.

    The vector is what the last linear layer was given, the mean of the last map where the classifier is a convolution.
    Stages and neck one after the other compute exactly what the network computes up to there.

    Shapes: inputs (B, 3, H, W), or (B, 1, H, W), which are repeated -> vector (B, width)
    Raises: ConfigError: no such network or weights, no images, or of a size that the network rejects.
    Source: the networks' papers stand in torchvision's documentation of each.
    """

    def __init__(self, option: Torchvision, given: InputSpec, state: dict[str, Tensor] | None = None) -> None:
        shape = given.shape
        weights.known(option.model)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ConfigError(
                f"backbone.name=torchvision takes images of 1 or 3 channels. Found inputs of shape {shape}: take "
                "backbone=mlp or backbone=cnn"
            )
        network = _fitting(option, shape)
        cut = plan(network.skeleton, network.side)
        classifier = _last_linear(network.whole) if cut is None else cut.classifier
        if state is not None:
            weights.load(network.whole, state, (f"{classifier}.", *AUXILIARY), f"backbone.weights={option.weights}")
        if cut is None:
            super().__init__(*_opaque(network.whole, classifier, option.gradient_checkpointing))
            return
        bodies, neck = pieces.cut(network.whole, cut, repeat=shape[0] == 1)
        stages = {name: pieces.Stage(body, option.gradient_checkpointing) for name, body in bodies.items()}
        super().__init__(stages, neck, Spec(cut.width, cut.specs))

    @classmethod
    def wants(cls, option: Torchvision) -> Wanted:
        """Size and normalisation of the weights; `size` goes before. Raises: ConfigError: no such model or weights."""
        weights.known(option.model)
        size = None if option.size is None else (option.size, option.size)
        if option.weights is None:
            return Wanted(size)
        preset = weights.entry(option.model, option.weights).transforms()
        return Wanted(size or (preset.crop_size[0], preset.crop_size[0]), tuple(preset.mean), tuple(preset.std))

    @classmethod
    def new(cls, option: Torchvision, given: InputSpec) -> Self:
        """With the pretrained weights."""
        weights.known(option.model)
        return cls(option, given, None if option.weights is None else weights.read(option.model, option.weights))


def _fitting(option: Torchvision, shape: tuple[int, ...]) -> Network:
    """The network, made for images of this shape. Raises: ConfigError: it rejects them; names a size that works."""
    try:
        network = _built(option, shape[1])
        _try(network, shape[1], shape[2])
    except REJECTIONS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    else:
        return network
    works = next((side for side in SIDES if side > min(shape[1:]) and _takes(option, side)), None)
    out = f"set backbone.size={works}" if works else "take another backbone.model"
    raise ConfigError(f"backbone.model={option.model} does not take {shape[1]}x{shape[2]} images ({reason}): {out}")


def _takes(option: Torchvision, side: int) -> bool:
    try:
        with torch.device("meta"):
            _try(_built(option, side), side, side)
    except REJECTIONS:
        return False
    return True


def _try(network: Network, height: int, width: int) -> None:
    with torch.no_grad():
        network.skeleton(torch.empty(2, 3, height, width, device="meta"))


def _built(option: Torchvision, side: int) -> Network:
    """The network; one that takes images of one size only is made for `side`."""
    family = models.get_model_builder(option.model).__module__.rpartition(".")[2]
    nominal = models.get_model_weights(option.model).DEFAULT.transforms().crop_size[0]
    own: dict[str, Any] = {}
    if family in ("googlenet", "inception"):
        own = {"aux_logits": False, "init_weights": True, "transform_input": option.weights is not None}
    elif family == "vision_transformer":
        own, nominal = {"image_size": side}, side
    elif family == "maxvit":
        own, nominal = {"input_size": (side, side)}, side
    whole = models.get_model(option.model, weights=None, **own)
    return Network(whole, _on_meta(whole).eval(), nominal)


def _on_meta(network: nn.Module) -> nn.Module:
    """A copy without values, made without a copy of them."""
    memo: dict[int, Any] = {id(p): nn.Parameter(torch.empty_like(p, device="meta")) for p in network.parameters()}
    memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    return copy.deepcopy(network, memo)


def _last_linear(network: nn.Module) -> str:
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1]


def _opaque(network: nn.Module, classifier: str, recompute: bool) -> tuple[dict[str, nn.Module], nn.Module, Spec]:
    """One stage that is all of the network but its classifier."""
    layer = network.get_submodule(classifier)
    assert isinstance(layer, nn.Linear)
    network.set_submodule(classifier, nn.Identity())
    spec = Spec(layer.in_features, (StageSpec("whole", "vector", layer.in_features, 1),), opaque=True)
    return {"whole": pieces.Stage(network, recompute)}, nn.Identity(), spec
