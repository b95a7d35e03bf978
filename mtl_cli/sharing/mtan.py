"""One backbone, and for each task an attention that picks from its stages."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.backbones.base import BackboneFactory, Features, Kind, Pool, Spec, StageSpec
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import Sharing, last_parameters, needs_stages
from mtl_cli.sharing.options import Mtan


class Pointwise(nn.Module):
    """A linear map of the channels at every place, and a norm: batch norm on maps, layer norm elsewhere.

    Shapes: (B, C_in, H, W) -> (B, C_out, H, W), or (B, ..., C_in) -> (B, ..., C_out)
    """

    def __init__(self, kind: Kind, wide_in: int, wide_out: int, kernel: int = 1) -> None:
        super().__init__()
        if kind == "map":
            layers: list[nn.Module] = [
                nn.Conv2d(wide_in, wide_out, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(wide_out),
            ]
        else:
            layers = [nn.Linear(wide_in, wide_out, bias=False), nn.LayerNorm(wide_out)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Maps and normalises."""
        made: Tensor = self.layers(features)
        return made


class Attention(nn.Module):
    """One task's attention at one stage.

        a = sigmoid(h(relu(g([u ; b])))),  y = a * p,  b' = relu(f(y))

    u, p: the stage's first and last tap. b: what the stage before handed on, brought to this one's size. b': what is
    handed on, with the channels of the stage behind. g, h: 1x1 convolutions; f: a 3x3 one; each with its norm.

    Shapes: u, p (B, C, ...) or (B, L, D), b or None -> y as p, b' with `wide_out` channels
    """

    def __init__(self, stage: StageSpec, before: StageSpec | None, wide_out: int, width: float) -> None:
        super().__init__()
        kind, channels = stage.kind, stage.channels
        middle = max(1, round(width * channels))
        self._axis = 1 if kind == "map" else -1
        self.join = None if before is None else Join(before.kind, kind)
        self.g = Pointwise(kind, channels if before is None else 2 * channels, middle)
        self.h = Pointwise(kind, middle, channels)
        self.f = Pointwise(kind, channels, wide_out, kernel=3)

    def forward(self, first: Tensor, last: Tensor, handed: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the task takes of the stage, and what it hands on."""
        if self.join is not None:
            assert handed is not None
            first = torch.cat([first, self.join(handed, first)], dim=self._axis)
        taken = self.h(functional.relu(self.g(first))).sigmoid() * last
        return taken, functional.relu(self.f(taken))


class Join(nn.Module):
    """Brings features to another stage's size: maps by the largest value, all else by the mean, the same everywhere.

    Shapes: (B, C, ...) or (B, L, C), and features like which it shall be -> of that size, with C channels
    """

    def __init__(self, kind: Kind, to: Kind) -> None:
        super().__init__()
        self._kind, self._to = kind, to
        self.pool = Pool(kind)

    def forward(self, features: Tensor, like: Tensor) -> Tensor:
        """Pools, and spreads where it must."""
        if self._kind == self._to == "map":
            return functional.adaptive_max_pool2d(features, like.shape[2:])
        if self._kind == self._to and features.shape[1:-1] == like.shape[1:-1]:
            return features
        vector: Tensor = self.pool(features)
        if self._to == "map":
            return vector[:, :, None, None].expand(-1, -1, *like.shape[2:])
        return vector[:, None].expand(-1, like.shape[1], -1) if self._to == "sequence" else vector


class MtanSharing(Sharing):
    """A backbone for all tasks; each task picks from its stages by attention of its own (`Attention`).

    Shapes: inputs (B, ...) -> Features of (B, ...); a task's stages are what it took of them
    Raises: ConfigError: the backbone is one opaque stage.
    Note:   a stage's taps are the first and the last of its blocks' outputs that have the stage's size; where a stage
            is one piece, as torchvision's are, both are its output. The paper has them behind the two convolutions of a
            SegNet's block. Maps that shrink are pooled to the next tap's size; on vectors and sequences the
            convolutions are linear layers and the norm is a layer norm. The last stage hands on to the neck.
    Source: Liu, Johns, Davison, End-to-end multi-task learning with attention, CVPR 2019, equations 1 and 2.
    """

    def __init__(self, option: Mtan, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        needs_stages(factory.spec, "sharing=mtan attends to every stage")
        self.backbone = factory()
        stages = factory.spec.stages
        before = (None, *stages[:-1])
        behind = (*(stage.channels for stage in stages[1:]), stages[-1].channels)
        self.attentions = nn.ModuleDict(
            {
                slot(task): nn.ModuleDict(
                    {
                        stage.name: Attention(stage, previous, wide, option.width)
                        for stage, previous, wide in zip(stages, before, behind, strict=True)
                    }
                )
                for task in tasks
            }
        )

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass through the backbone, and the attentions of those tasks beside it."""
        taken: dict[str, dict[str, Tensor]] = {task: {} for task in tasks}
        handed: dict[str, Tensor | None] = dict.fromkeys(tasks)
        tensor = inputs
        for name, stage in self.backbone.stages.items():
            first, tensor = taps(stage, tensor)
            for task in tasks:
                attention = cast(nn.ModuleDict, self.attentions[slot(task)])[name]
                taken[task][name], handed[task] = attention(first, tensor, handed[task])
        return {task: Features(self.backbone.neck(handed[task]), taken[task], None, {}) for task in tasks}

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self.backbone.spec

    def last_stage(self) -> list[nn.Parameter]:
        """The backbone's last stage that has parameters."""
        return last_parameters(self.backbone.stages)


def taps(stage: nn.Module, tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The first of a stage's blocks' outputs that has the stage's size, and its output."""
    blocks = list(stage) if isinstance(stage, nn.Sequential) else [stage]
    outputs: list[Tensor] = []
    for block in blocks:
        tensor = block(tensor)
        outputs.append(tensor)
    return next(output for output in outputs if output.shape[1:] == tensor.shape[1:]), tensor
