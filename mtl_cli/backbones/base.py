"""Input -> stages of features -> a vector."""

import copy
from abc import ABC
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple, Self

from torch import Tensor, nn

from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError

Kind = Literal["map", "sequence", "vector"]


class StageSpec(NamedTuple):
    """What a stage puts out: map (B, C, H, W), sequence (B, L, D) or vector (B, D).

    `channels` is C or D; `stride` is how many pixels of the input lie between two neighbours (1 for a vector).
    """

    name: str
    kind: Kind
    channels: int
    stride: int


class Spec(NamedTuple):
    """The build-time twin of Features: the vector's width and the stages that can be read.

    opaque: the backbone cannot be cut, its only stage is all of it.
    """

    width: int
    stages: tuple[StageSpec, ...]
    opaque: bool = False

    def stage(self, name: str) -> StageSpec:
        """The stage of that name. Raises: KeyError: no such stage."""
        return {stage.name: stage for stage in self.stages}[name]


class Wanted(NamedTuple):
    """What a backbone wants of images; None where it takes them as the data has them.

    size: height and width. mean, std: by channel, of images in [0, 1].
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class Features(NamedTuple):
    """What a head reads.

    vector: (B, width).
    stages: each stage's output by name.
    trunk: the one tensor that every task's output passes through, if there is one.
    aux: what only penalties read, a row for each sample.
    """

    vector: Tensor
    stages: dict[str, Tensor]
    trunk: Tensor | None
    aux: dict[str, Tensor]

    def rows(self, start: int, stop: int) -> "Features":
        """Those of some samples."""
        vector = self.vector[start:stop]
        same = self.trunk is self.vector
        trunk = vector if same else None if self.trunk is None else self.trunk[start:stop]
        stages, aux = ({name: t[start:stop] for name, t in those.items()} for those in (self.stages, self.aux))
        return Features(vector, stages, trunk, aux)

    def viewed(self) -> "Features":
        """The same to read, through a view of the trunk's tensor, at which the gradient of who reads it can be had."""
        assert self.trunk is not None
        view = self.trunk.view_as(self.trunk)
        stages = {name: view if tensor is self.trunk else tensor for name, tensor in self.stages.items()}
        return Features(view if self.vector is self.trunk else self.vector, stages, view, self.aux)


class Backbone(nn.Module, ABC):
    """Ordered stages, each one tensor to one tensor, and a neck that makes the vector of the last.

    Built from (option, what a prepared sample looks like). A strategy keeps backbones whole: `train` knows what is
    frozen.
    """

    @classmethod
    def wants(cls, option: Any) -> Wanted:  # noqa: ARG003  # a hook that most leave empty
        """What these options ask of images; asked before the data is prepared."""
        return Wanted()

    @classmethod
    def new(cls, option: Any, given: InputSpec) -> Self:
        """The backbone of a new run: with the weights that its options name, where they name any.

        The constructor alone makes one whose weights will be loaded, from a checkpoint.
        """
        build: Any = cls
        backbone: Self = build(option, given)
        return backbone

    def __init__(self, stages: Mapping[str, nn.Module], neck: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.neck = neck
        self.spec = spec
        self._frozen: tuple[str, ...] = ()

    def forward(self, inputs: Tensor) -> Features:
        """Runs all stages and the neck. Shapes: inputs (B, ...)"""
        outputs: dict[str, Tensor] = {}
        tensor = inputs
        for name, stage in self.stages.items():
            tensor = stage(tensor)
            outputs[name] = tensor
        vector = self.neck(tensor)
        return Features(vector, outputs, vector, {})

    def freeze(self, last: str) -> None:
        """From now on this stage and all before it do not train, and stay in evaluation mode.

        Raises: ConfigError: there is no such stage.
        """
        names = list(self.stages)
        if last not in names:
            raise ConfigError(f"backbone.freeze={last} is no stage of the backbone, which has {', '.join(names)}")
        self._frozen = tuple(names[: names.index(last) + 1])
        for name in self._frozen:
            self.stages[name].requires_grad_(False)
        self.train(self.training)

    def keep(self, stages: Collection[str]) -> None:
        """From now on it is these stages alone; its vector is their output, unless the last is among them."""
        last = list(self.stages)[-1]
        for name in [name for name in self.stages if name not in stages]:
            del self.stages[name]
        if last not in stages:
            self.neck = nn.Identity()
        self.spec = self.spec._replace(stages=tuple(stage for stage in self.spec.stages if stage.name in stages))
        self._frozen = tuple(name for name in self._frozen if name in stages)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of all but the frozen stages, whose running statistics stay as they are."""
        super().train(mode)
        for name in self._frozen:
            self.stages[name].eval()
        return self


class BackboneFactory:
    """Gives networks that start equal, also from pretrained weights: copies of one prototype."""

    def __init__(self, prototype: Backbone) -> None:
        self._prototype = prototype
        self.spec = prototype.spec

    def __call__(self) -> Backbone:
        """A new network, equal to every other of this factory."""
        return copy.deepcopy(self._prototype)

    def piece(self, stages: Collection[str]) -> Backbone:
        """Those stages of a new network; with its neck, where the last is among them."""
        network = self()
        network.keep(stages)
        return network


class Pool(nn.Module):
    """The mean over space or length: any kind of features to a vector. Shapes: (B, ...) -> (B, C)"""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.dims = {"map": (2, 3), "sequence": (1,), "vector": ()}[kind]

    def forward(self, features: Tensor) -> Tensor:
        """Averages."""
        return features.mean(self.dims) if self.dims else features
