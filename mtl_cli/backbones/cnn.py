"""A small, fast convolutional network."""

from torch import nn

from mtl_cli.backbones.base import Backbone, Pool, Spec, StageSpec
from mtl_cli.backbones.options import Cnn
from mtl_cli.options import ConfigError


class CnnBackbone(Backbone):
    """Stages of two 3x3 convolutions and a 2x2 maximum; the first stage has one convolution.

    Stage i has channels * 2^i channels and half the side of the one before.

    Shapes: inputs (B, C, H, W) -> vector (B, channels * 2^(depth - 1))
    Raises: ConfigError: the input is no image, or too small for that many stages.
    """

    def __init__(self, option: Cnn, shape: tuple[int, ...]) -> None:
        if len(shape) != 3:
            raise ConfigError(f"backbone.name=cnn takes images. Found inputs of shape {shape}: take backbone=mlp")
        deepest = min(shape[1:]).bit_length() - 1
        if option.depth > deepest:
            raise ConfigError(
                f"backbone.depth={option.depth} halves {shape[1]}x{shape[2]} images too often: at most {deepest}"
            )
        stages: dict[str, nn.Module] = {}
        specs: list[StageSpec] = []
        wide_in = shape[0]
        for i in range(option.depth):
            wide = option.channels * 2**i
            second = [] if i == 0 else _block(wide, wide, option.norm)
            stages[f"stage{i + 1}"] = nn.Sequential(*_block(wide_in, wide, option.norm), *second, nn.MaxPool2d(2))
            specs.append(StageSpec(f"stage{i + 1}", "map", wide, 2 ** (i + 1)))
            wide_in = wide
        super().__init__(stages, Pool("map"), Spec(wide_in, tuple(specs)))


def _block(wide_in: int, wide_out: int, norm: str) -> list[nn.Module]:
    convolution = nn.Conv2d(wide_in, wide_out, 3, padding=1, bias=norm == "none")
    normalised = [nn.BatchNorm2d(wide_out)] if norm == "batch" else []
    return [convolution, *normalised, nn.ReLU(inplace=True)]
