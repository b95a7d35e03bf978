"""Heads on a vector: the backbone's, or one stage's features averaged."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.backbones.base import Features, Pool, Spec
from mtl_cli.options import ConfigError, nearest
from mtl_cli.tasks.base import Head
from mtl_cli.tasks.options import HeadOption, Linear, Mlp

MANY = 8
"""Heads from which on one product for all of them is quicker, forwards and backwards, than one for each."""


class Reader(nn.Module):
    """Picks what a head reads: the vector, or the pooled features of one stage. Shapes: -> (B, width)"""

    def __init__(self, option: HeadOption, spec: Spec, key: str) -> None:
        super().__init__()
        self._at = option.at
        self.width = spec.width
        self.pool: nn.Module = nn.Identity()
        if option.at is not None:
            names = [stage.name for stage in spec.stages]
            if option.at not in names:
                raise ConfigError(f"{key}.at={option.at} is no stage of the backbone: {nearest(option.at, names)}")
            stage = spec.stage(option.at)
            self.width = stage.channels
            self.pool = Pool(stage.kind)

    @property
    def on_vector(self) -> bool:
        """Whether it picks the vector."""
        return self._at is None

    def forward(self, features: Features) -> Tensor:
        """Reads."""
        vector: Tensor = features.vector if self._at is None else self.pool(features.stages[self._at])
        return vector


class LinearHead(Head):
    """y = W f + b. Shapes: Features -> (B, width)"""

    def __init__(self, option: Linear, spec: Spec, width: int, key: str) -> None:
        super().__init__()
        self.reader = Reader(option, spec, key)
        self.layers = nn.Linear(self.reader.width, width)

    def forward(self, features: Features) -> Tensor:
        """One linear layer."""
        output: Tensor = self.layers(self.reader(features))
        return output


def joined(heads: Sequence[nn.Module], vector: Tensor) -> Sequence[Tensor] | None:
    """The outputs of linear heads on one vector, by one product; None: one of them is not linear, or reads a stage.

        [y_1 .. y_T] = f [W_1; ..; W_T]^T + [b_1 .. b_T]

    A backward pass goes through all of them, so it is not for whoever goes through one task at a time.

    Shapes: vector (B, D) -> (B, width_t) for each
    """
    layers = _linear(heads)
    if len(layers) < len(heads):
        return None
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    outputs: Sequence[Tensor] = functional.linear(vector, weight, bias).split([its.out_features for its in layers], 1)
    return outputs


def batched(heads: Sequence[nn.Module], vector_TBD: Tensor) -> Tensor | None:
    """The outputs of linear heads of one shape, each on a vector of its own, by one batched product; None: no such.

        y_t = f_t W_t^T + b_t

    Shapes: vector (T, B, D) -> (T, B, width)
    """
    layers = _linear(heads)
    if len(layers) < len(heads) or len({layer.weight.shape for layer in layers}) > 1:
        return None
    weight_TCD, bias_TC = (torch.stack(its) for its in zip(*((lay.weight, lay.bias) for lay in layers), strict=True))
    if weight_TCD.requires_grad:  # which lies the other way round, and would be turned head by head
        weight_TCD.register_hook(lambda gradient: gradient.contiguous())
    return torch.baddbmm(bias_TC[:, None], vector_TBD, weight_TCD.transpose(1, 2))


def _linear(heads: Sequence[nn.Module]) -> list[nn.Linear]:
    """The layers of those that are linear and read the vector."""
    return [head.layers for head in heads if isinstance(head, LinearHead) and head.reader.on_vector]


class MlpHead(Head):
    """Linear layers with ReLU and dropout between them. Shapes: Features -> (B, width)"""

    def __init__(self, option: Mlp, spec: Spec, width: int, key: str) -> None:
        super().__init__()
        self.reader = Reader(option, spec, key)
        layers: list[nn.Module] = []
        wide_in = self.reader.width
        for wide in option.hidden:
            layers += [nn.Linear(wide_in, wide), nn.ReLU(), nn.Dropout(option.dropout)]
            wide_in = wide
        self.layers = nn.Sequential(*layers, nn.Linear(wide_in, width))

    def forward(self, features: Features) -> Tensor:
        """Hidden layers, then a linear one."""
        output: Tensor = self.layers(self.reader(features))
        return output
