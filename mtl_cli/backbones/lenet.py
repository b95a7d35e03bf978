"""The small network of the MultiMNIST benchmarks."""

from torch import nn

from mtl_cli.backbones.base import Backbone, Spec, StageSpec
from mtl_cli.backbones.options import Lenet
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError

KERNEL = 5
SMALLEST = 16
WIDTH = 50


class LenetBackbone(Backbone):
    """Sener and Koltun's MultiLeNetR: two 5x5 convolutions to 10 and 20 channels, and a linear layer to 50.

    conv1: convolution, 2x2 maximum, ReLU; conv2: the same with whole channels dropped before its maximum; fc: linear,
    ReLU. Their decoder is the head `mlp` with hidden=[50] and dropout=0.5.

    Shapes: inputs (B, C, H, W) -> vector (B, 50); 320 numbers go into fc for 28x28, 720 for 36x36
    Raises: ConfigError: the input is no image, or smaller than 16x16.
    Note:   their code drops the same channels of all images in a batch, and does not scale up the others; here each
            image has its own, and the others are doubled, as dropout is defined.
    Source: Sener, Koltun, Multi-task learning as multi-objective optimization, NeurIPS 2018, supplement B, and code.
    """

    def __init__(self, option: Lenet, given: InputSpec) -> None:
        shape = given.shape
        if len(shape) != 3:
            raise ConfigError(f"backbone.name=lenet takes images. Found inputs of shape {shape}: take backbone=mlp")
        if min(shape[1:]) < SMALLEST:
            raise ConfigError(
                f"backbone.name=lenet takes images of at least {SMALLEST}x{SMALLEST}. Found {shape[1]}x{shape[2]}: "
                "take backbone=cnn"
            )
        height, width = (((side - KERNEL + 1) // 2 - KERNEL + 1) // 2 for side in shape[1:])
        stages = {
            "conv1": nn.Sequential(nn.Conv2d(shape[0], 10, KERNEL), nn.MaxPool2d(2), nn.ReLU()),
            "conv2": nn.Sequential(nn.Conv2d(10, 20, KERNEL), nn.Dropout2d(option.dropout), nn.MaxPool2d(2), nn.ReLU()),
            "fc": nn.Sequential(nn.Flatten(), nn.Linear(20 * height * width, WIDTH), nn.ReLU()),
        }
        specs = (
            StageSpec("conv1", "map", 10, 2),
            StageSpec("conv2", "map", 20, 4),
            StageSpec("fc", "vector", WIDTH, 1),
        )
        super().__init__(stages, nn.Identity(), Spec(WIDTH, specs))
