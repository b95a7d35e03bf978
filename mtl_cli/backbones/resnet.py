"""ResNet-18 for small images."""

from torch import nn
from torchvision.models import resnet18

from mtl_cli.backbones.base import Backbone, Pool, Spec, StageSpec
from mtl_cli.backbones.options import Resnet18Cifar
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError


class Resnet18CifarBackbone(Backbone):
    """torchvision's ResNet-18 with a 3x3 stem of stride 1 and no first pooling.

    Shapes: inputs (B, C, H, W) -> vector (B, 512)
    Raises: ConfigError: the input is no image.
    Source: He, Zhang, Ren, Sun, Deep residual learning for image recognition, CVPR 2016, section 4.2.
    Note:   section 4.2's own CIFAR networks are narrower; this is the widely used ImageNet-18 with their stem.
    """

    def __init__(self, option: Resnet18Cifar, given: InputSpec) -> None:
        shape = given.shape
        if len(shape) != 3:
            name = option.__struct_config__.tag
            raise ConfigError(f"backbone.name={name} takes images. Found inputs of shape {shape}: take backbone=mlp")
        whole = resnet18(weights=None)
        convolution = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        stages = {
            "stem": nn.Sequential(convolution, whole.bn1, whole.relu),
            "layer1": whole.layer1,
            "layer2": whole.layer2,
            "layer3": whole.layer3,
            "layer4": whole.layer4,
        }
        widths = (64, 64, 128, 256, 512)
        strides = (1, 1, 2, 4, 8)
        specs = (StageSpec(n, "map", w, s) for n, w, s in zip(stages, widths, strides, strict=True))
        super().__init__(stages, Pool("map"), Spec(512, tuple(specs)))
