"""Experts on a stem's vector, and gates that mix them."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import Features, Pool, Spec
from mtl_cli.options import ConfigError, nearest


class Expert(nn.Module):
    """Linear layers, each with ReLU. Shapes: (B, D) -> (B, last hidden width)"""

    def __init__(self, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for wide_in, wide_out in pairwise((width, *hidden)):
            layers += [nn.Linear(wide_in, wide_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, vector: Tensor) -> Tensor:
        """What it makes of a vector."""
        made: Tensor = self.layers(vector)
        return made


def experts(count: int, width: int, hidden: Sequence[int]) -> nn.ModuleList:
    """So many, at draws of their own: equal ones would stay equal."""
    return nn.ModuleList(Expert(width, hidden) for _ in range(count))


def mixed(made: Sequence[Tensor], gate_BE: Tensor) -> Tensor:
    """sum_e g_e f_e. Shapes: E tensors (B, D), (B, E) -> (B, D)"""
    return (torch.stack(list(made), dim=2) @ gate_BE[:, :, None])[:, :, 0]


class GateReader(nn.Module):
    """What gates read of a stem: its vector, or a stage, pooled. Shapes: Features of (B, ...) -> (B, width)

    Raises: ConfigError: there is no such stage.
    """

    def __init__(self, at: str | None, spec: Spec, key: str = "sharing.gate_at") -> None:
        super().__init__()
        self._at = at
        self.width = spec.width
        self.pool: nn.Module = nn.Identity()
        if at is not None:
            names = [stage.name for stage in spec.stages]
            if at not in names:
                raise ConfigError(f"{key}={at} is no stage of the backbone: {nearest(at, names)}")
            stage = spec.stage(at)
            self.width, self.pool = stage.channels, Pool(stage.kind)

    def forward(self, stem: Features) -> Tensor:
        """Reads."""
        read: Tensor = stem.vector if self._at is None else self.pool(stem.stages[self._at])
        return read
