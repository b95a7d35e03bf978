"""Input -> stages of features -> a vector."""

import copy
from abc import ABC
from collections.abc import Mapping
from typing import Literal, NamedTuple

from torch import Tensor, nn

Kind = Literal["map", "sequence", "vector"]


class StageSpec(NamedTuple):
    """What a stage puts out: map (B, C, H, W), sequence (B, L, D) or vector (B, D).

    `channels` is C or D; `stride` is the input's size over the output's (1 for a vector).
    """

    name: str
    kind: Kind
    channels: int
    stride: int


class Spec(NamedTuple):
    """The build-time twin of Features: the vector's width and the stages that can be read."""

    width: int
    stages: tuple[StageSpec, ...]

    def stage(self, name: str) -> StageSpec:
        """The stage of that name. Raises: KeyError: no such stage."""
        return {stage.name: stage for stage in self.stages}[name]


class Features(NamedTuple):
    """What a head reads.

    vector: (B, width).
    stages: each stage's output by name.
    trunk: the one tensor that every task's output passes through, if there is one.
    aux: what only penalties read.
    """

    vector: Tensor
    stages: dict[str, Tensor]
    trunk: Tensor | None
    aux: dict[str, Tensor]


class Backbone(nn.Module, ABC):
    """Ordered stages, each one tensor to one tensor, and a neck that makes the vector of the last."""

    def __init__(self, stages: Mapping[str, nn.Module], neck: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.neck = neck
        self.spec = spec

    def forward(self, inputs: Tensor) -> Features:
        """Runs all stages and the neck. Shapes: inputs (B, ...)"""
        outputs: dict[str, Tensor] = {}
        tensor = inputs
        for name, stage in self.stages.items():
            tensor = stage(tensor)
            outputs[name] = tensor
        vector = self.neck(tensor)
        return Features(vector, outputs, vector, {})


class BackboneFactory:
    """Gives networks that start equal, also from pretrained weights: copies of one prototype."""

    def __init__(self, prototype: Backbone) -> None:
        self._prototype = prototype
        self.spec = prototype.spec

    def __call__(self) -> Backbone:
        """A new network, equal to every other of this factory."""
        return copy.deepcopy(self._prototype)


class Pool(nn.Module):
    """The mean over space or length: any kind of features to a vector. Shapes: (B, ...) -> (B, C)"""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.dims = {"map": (2, 3), "sequence": (1,), "vector": ()}[kind]

    def forward(self, features: Tensor) -> Tensor:
        """Averages."""
        return features.mean(self.dims) if self.dims else features
