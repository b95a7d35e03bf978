"""Heads on a vector: the backbone's, or one stage's features averaged."""

from torch import Tensor, nn

from mtl_cli.backbones.base import Features, Pool, Spec
from mtl_cli.options import ConfigError, nearest
from mtl_cli.tasks.base import Head
from mtl_cli.tasks.options import HeadOption, Linear, Mlp


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
