"""Fully connected layers."""

import math
from itertools import pairwise

from torch import nn

from mtl_cli.backbones.base import Backbone, Spec, StageSpec
from mtl_cli.backbones.embedding import Embedded
from mtl_cli.backbones.options import Mlp
from mtl_cli.data.base import InputSpec


class MlpBackbone(Backbone):
    """Flattens its input, or embeds a table's categories; then linear layers with ReLU and dropout, each a stage.

    Shapes: inputs (B, ...) -> vector (B, hidden[-1])
    """

    def __init__(self, option: Mlp, given: InputSpec) -> None:
        first = Embedded(given) if given.categories else nn.Flatten()
        widths = [first.width if isinstance(first, Embedded) else math.prod(given.shape), *option.hidden]
        stages: dict[str, nn.Module] = {}
        for i, (wide_in, wide_out) in enumerate(pairwise(widths)):
            blocks = [first] if i == 0 else []
            stages[f"layer{i + 1}"] = nn.Sequential(
                *blocks, nn.Linear(wide_in, wide_out), nn.ReLU(), nn.Dropout(option.dropout)
            )
        specs = tuple(StageSpec(f"layer{i + 1}", "vector", width, 1) for i, width in enumerate(option.hidden))
        super().__init__(stages, nn.Identity(), Spec(option.hidden[-1], specs))
