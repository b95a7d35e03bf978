"""One backbone that each task conditions by an embedding of its own."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Kind, StageSpec
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import needs_stages
from mtl_cli.sharing.lending import TrunkATask, chosen, run
from mtl_cli.sharing.options import Film


class Modulation(nn.Module):
    """Scales and shifts the channels of a stage as an embedding says; at its start as they are.

        y = (1 + gamma) x + beta,  [gamma, beta] = W z + b

    Shapes: x (B, C, ...) or (B, L, D), z (embedding,) -> as x
    """

    def __init__(self, stage: StageSpec, embedding: int) -> None:
        super().__init__()
        self._shape = _channels(stage.kind)
        self.generator = nn.Linear(embedding, 2 * stage.channels)
        nn.init.zeros_(self.generator.weight)
        nn.init.zeros_(self.generator.bias)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Modulates."""
        gamma, beta = self.generator(embedding).chunk(2)
        modulated: Tensor = (1 + gamma.view(self._shape)) * features + beta.view(self._shape)
        return modulated


class FilmSharing(TrunkATask):
    """A backbone that runs once a task, its stages scaled and shifted as the task's embedding says.

        x_s <- (1 + gamma_s(z_t)) x_s + beta_s(z_t) after stage s

    z_t: task t's embedding, learned. gamma_s, beta_s: linear in it, zero at the start, of all tasks.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: the backbone is one opaque stage, or lacks one that is named.
    Note:   batch norm keeps running statistics for each task. In the paper a question conditions the features between
            normalisation and ReLU inside each block; here a task does, after whole stages.
    Source: Perez, Strub, de Vries, Dumoulin, Courville, FiLM: visual reasoning with a general conditioning layer, AAAI
            2018, equations 1 and 2.
    """

    def __init__(self, option: Film, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        needs_stages(factory.spec, "sharing=film conditions stages")
        super().__init__(factory, tasks)
        self.embeddings = nn.ParameterDict({slot(task): torch.randn(option.embedding) for task in tasks})
        self.modulations = nn.ModuleDict(
            {stage.name: Modulation(stage, option.embedding) for stage in chosen(option.at, factory.spec)}
        )

    def passed(self, inputs: Tensor, key: str) -> Features:
        """One pass, modulated by the task's embedding."""
        embedding = self.embeddings[key]

        def modulated(name: str, features: Tensor) -> Tensor:
            return self.modulations[name](features, embedding) if name in self.modulations else features

        return run(self.backbone, self.running(key), inputs, modulated)


def _channels(kind: Kind) -> tuple[int, ...]:
    return (-1, 1, 1) if kind == "map" else (-1,)
