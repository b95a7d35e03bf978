"""A small, fast convolutional network."""

from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, Pool, Spec, StageSpec
from mtl_cli.backbones.options import Cnn
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError

DEEPEST_BY_ITSELF = 3


class CnnBackbone(Backbone):
    """A small residual network that pools early: most of its work is done on small maps.

    Stage i: a 3x3 convolution to channels * 2^i, a 2x2 maximum, normalisation, ReLU; from the second stage on
    x + f(x), f two more 3x3 convolutions, each with normalisation and ReLU.

    Shapes: inputs (B, C, H, W) -> vector (B, channels * 2^(depth - 1))
    Raises: ConfigError: the input is no image, or too small for that many stages.
    """

    def __init__(self, option: Cnn, given: InputSpec) -> None:
        shape = given.shape
        if len(shape) != 3:
            raise ConfigError(f"backbone.name=cnn takes images. Found inputs of shape {shape}: take backbone=mlp")
        deepest = min(shape[1:]).bit_length() - 1
        depth = option.depth or min(max(deepest - 1, 1), DEEPEST_BY_ITSELF)
        if depth > deepest:
            raise ConfigError(
                f"backbone.depth={depth} halves {shape[1]}x{shape[2]} images too often: at most {deepest}"
            )
        stages: dict[str, nn.Module] = {}
        specs: list[StageSpec] = []
        wide_in = shape[0]
        for i in range(depth):
            wide = option.channels * 2**i
            more = [] if i == 0 else [Residual(*_block(wide, wide, option.norm), *_block(wide, wide, option.norm))]
            stages[f"stage{i + 1}"] = nn.Sequential(*_block(wide_in, wide, option.norm, pool=True), *more)
            specs.append(StageSpec(f"stage{i + 1}", "map", wide, 2 ** (i + 1)))
            wide_in = wide
        super().__init__(stages, Pool("map"), Spec(wide_in, tuple(specs)))


class Residual(nn.Module):
    """x + f(x). Shapes: (B, C, H, W) -> the same."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Adds."""
        added: Tensor = features + self.layers(features)
        return added


def _block(wide_in: int, wide_out: int, norm: str, pool: bool = False) -> list[nn.Module]:
    convolution = nn.Conv2d(wide_in, wide_out, 3, padding=1, bias=norm == "none")
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    pooled = [nn.MaxPool2d(2)] if pool else []
    normalised = [nn.BatchNorm2d(wide_out)] if norm == "batch" else []
    return [convolution, *pooled, *normalised, nn.ReLU(inplace=True)]
