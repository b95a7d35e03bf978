"""Options of the backbone room."""

from typing import Annotated, Literal

from msgspec import Meta

from mtl_cli.options import Count, Option, Share, Table, tag


class BackboneOption(Option):
    """What every backbone has."""

    freeze: Annotated[str | None, Meta(description="this stage and all before it do not train; null: all train")]

    @property
    def label(self) -> str:
        """What a run's header calls it."""
        return tag(self)


class Mlp(BackboneOption, tag="mlp"):
    """Fully connected layers with ReLU, each a stage; flattens an image, embeds a table's categories."""

    hidden: Annotated[list[Count], Meta(min_length=1, description="width of each layer")]
    dropout: Annotated[Share, Meta(description="share of hidden units dropped")]


class FtTransformer(BackboneOption, tag="ft_transformer"):
    """A transformer over a table's columns, each a token (Gorishniy 2021)."""

    width: Annotated[Count, Meta(description="numbers in a token")]
    blocks: Annotated[Count, Meta(description="of attention and feed-forward layers, each a stage")]
    heads: Annotated[Count, Meta(description="of attention; they divide the width")]
    attention_dropout: Annotated[Share, Meta(description="share of attention dropped")]
    dropout: Annotated[Share, Meta(description="share of units of the feed-forward layers dropped")]


class Cnn(BackboneOption, tag="cnn"):
    """A small, fast convolutional network: each stage halves the image and doubles the channels."""

    channels: Annotated[Count, Meta(description="channels of the first stage")]
    depth: Annotated[Count | None, Meta(description="stages; null: as many as leave a side of 2, at most 3")]
    norm: Annotated[Literal["batch", "none"], Meta(description="normalisation after each convolution")]


class Resnet18Cifar(BackboneOption, tag="resnet18_cifar"):
    """ResNet-18 with a 3x3 stem and no first pooling, for images of about 32x32 (He 2016)."""


class Lenet(BackboneOption, tag="lenet"):
    """Two convolutions and a linear layer, for the digits of MultiMNIST (Sener and Koltun 2018)."""

    dropout: Annotated[Share, Meta(description="share of channels dropped after the second convolution")]


class Torchvision(BackboneOption, tag="torchvision"):
    """Any of torchvision's classification networks, cut into stages; its classifier gives way to the heads."""

    model: Annotated[str, Meta(description="its name in torchvision.models: resnet50, vit_b_16, ...")]
    weights: Annotated[str | None, Meta(description="DEFAULT, IMAGENET1K_V1, ..., or a file; null: random")]
    size: Annotated[
        Count | None,
        Meta(description="side that images are resized to; null: what the weights were trained at, else as they are"),
    ]
    gradient_checkpointing: Annotated[
        bool, Meta(description="compute each stage again in the backward pass: less memory, more time")
    ]

    @property
    def label(self) -> str:
        """With the model's name."""
        return f"{tag(self)} {self.model}"


BACKBONES = Table(
    "backbone",
    (Mlp, "mtl_cli.backbones.mlp:MlpBackbone"),
    (FtTransformer, "mtl_cli.backbones.ft_transformer:FtTransformerBackbone"),
    (Cnn, "mtl_cli.backbones.cnn:CnnBackbone"),
    (Lenet, "mtl_cli.backbones.lenet:LenetBackbone"),
    (Resnet18Cifar, "mtl_cli.backbones.resnet:Resnet18CifarBackbone"),
    (Torchvision, "mtl_cli.backbones.torchvision:TorchvisionBackbone"),
)
