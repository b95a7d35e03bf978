"""One backbone, whose weights each task changes by matrices of low rank."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, BackboneFactory, Features
from mtl_cli.contracts import slot
from mtl_cli.sharing.lending import TrunkATask, chosen, run
from mtl_cli.sharing.options import Lora


class Update(nn.Module):
    """alpha / r B A, in the shape of a weight; zero at the start. Shapes: () -> (out, in, ...)"""

    def __init__(self, shape: torch.Size, rank: int, alpha: float) -> None:
        super().__init__()
        wide_out, wide_in = shape[0], math.prod(shape[1:])
        rank = min(rank, wide_out, wide_in)
        self._shape, self._scale = shape, alpha / rank
        self.down = nn.Parameter(torch.empty(rank, wide_in))
        self.up = nn.Parameter(torch.zeros(wide_out, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self) -> Tensor:
        """The change."""
        return (self._scale * self.up @ self.down).view(self._shape)


class LoraSharing(TrunkATask):
    """A backbone that runs once a task, its linear maps and convolutions changed by the task's own low-rank matrices.

        W_t = W + alpha / r B_t A_t,  B_t zero at the start;  with shared_rank also + alpha / r_s B A for all tasks

    W: a weight that all tasks share, a convolution's as (out, in k k); it trains unless `backbone.freeze` holds it.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: the backbone lacks a stage that is named.
    Note:   batch norm keeps running statistics for each task. A rank is at most what a weight can have. The weights are
            added up before the pass, so every network takes part unchanged, attention too. MTLoRA shares all blocks'
            features but the last ones', and adds updates of the outputs; here every weight may have a task's own.
    Source: Hu, Shen, Wallis et al., LoRA: low-rank adaptation of large language models, ICLR 2022, equation 3. For many
            tasks: Agiza, Neseem, Reda, MTLoRA: low-rank adaptation approach for efficient multi-task learning, CVPR
            2024, section 3.
    """

    def __init__(self, option: Lora, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__(factory, tasks)
        stages = [stage.name for stage in chosen(option.at, factory.spec)]
        weights = {name: weight.shape for name, weight in adaptable(self.backbone, stages)}

        def updates(rank: int) -> nn.ModuleDict:
            return nn.ModuleDict({_flat(name): Update(shape, rank, option.alpha) for name, shape in weights.items()})

        self.updates = nn.ModuleDict({slot(task): updates(option.rank) for task in tasks})
        self.common = updates(option.shared_rank) if option.shared_rank > 0 else nn.ModuleDict()
        self._weights = list(weights)

    def passed(self, inputs: Tensor, key: str) -> Features:
        """One pass with the task's own weights."""
        updates = cast(nn.ModuleDict, self.updates[key])
        lent = self.running(key)
        for name in self._weights:
            weight = self.backbone.get_parameter(name)
            common = self.common[_flat(name)]() if self.common else 0
            lent[name] = weight + common + updates[_flat(name)]()
        return run(self.backbone, lent, inputs)


def adaptable(backbone: Backbone, stages: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """The weights of linear layers, convolutions and attention in those stages, by their names in the backbone."""
    for stage in stages:
        for name, module in backbone.stages[stage].named_modules(prefix=f"stages.{stage}"):
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                yield f"{name}.weight", module.weight
            elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
                yield f"{name}.in_proj_weight", module.in_proj_weight


def _flat(name: str) -> str:
    return name.replace(".", "/")
