"""A backbone for each task, in subspaces that are mixed between networks, and stages that are mixed for each head."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, BackboneFactory, Features, Pool, Spec, StageSpec
from mtl_cli.contracts import Group, slot
from mtl_cli.sharing import side_by_side
from mtl_cli.sharing.base import Sharing, needs_stages
from mtl_cli.sharing.options import Sluice


class Subspaces(nn.Module):
    """Mixes the S subspaces of the T networks' features of one stage.

        y_is = sum_ju alpha_(is)(ju) x_ju,  alpha: same at is = ju, else (1 - same) / (T S - 1) at the start

    x_js: the s-th of S equal slices of network j's channels; what does not divide stays with its network.

    Shapes: T tensors (B, C, ...) or (B, L, D) -> the same; alpha (T S, T S)
    """

    def __init__(self, networks: int, stage: StageSpec, subspaces: int, same: float) -> None:
        super().__init__()
        self._axis = 1 if stage.kind == "map" else -1
        self._subspaces = min(subspaces, stage.channels)
        count = networks * self._subspaces
        others = (1 - same) / (count - 1) if count > 1 else 0.0
        self.alpha = nn.Parameter(torch.full((count, count), others).fill_diagonal_(same if count > 1 else 1.0))
        self._wide = stage.channels // self._subspaces
        self._rest = stage.channels - self._wide * self._subspaces

    def forward(self, features: list[Tensor], wanted: Sequence[int]) -> list[Tensor]:
        """The mixtures of the wanted networks."""
        parts = [x.split(self._sizes(), dim=self._axis) for x in features]
        slices = torch.stack([part for own in parts for part in own[: self._subspaces]])
        mixed: list[Tensor] = []
        for i in wanted:
            rows = self.alpha[i * self._subspaces : (i + 1) * self._subspaces]
            own = torch.tensordot(rows.to(slices.dtype), slices, dims=1).unbind()
            mixed.append(torch.cat([*own, *parts[i][self._subspaces :]], dim=self._axis))
        return mixed

    def _sizes(self) -> list[int]:
        return [self._wide] * self._subspaces + ([self._rest] if self._rest else [])


class Skip(nn.Module):
    """One task's mixture of what all stages give.

        f = beta_K v + sum_(k < K) beta_k P_k pool(x_k),  beta_K = last, beta_k = (1 - last) / (K - 1) at the start

    v: the vector that the neck makes of the last stage. P_k: stage k's channels to that width.

    Shapes: {stage: (B, ...)} and (B, width) -> (B, width)
    """

    def __init__(self, stages: Sequence[StageSpec], width: int, last: float) -> None:
        super().__init__()
        before = stages[:-1]
        others = (1 - last) / len(before) if before else 0.0
        self.beta = nn.Parameter(torch.tensor([others] * len(before) + [last if before else 1.0]))
        self.pools = nn.ModuleDict({stage.name: Pool(stage.kind) for stage in before})
        self.projections = nn.ModuleDict({s.name: nn.Linear(s.channels, width, bias=False) for s in before})

    def forward(self, stages: Mapping[str, Tensor], vector: Tensor) -> Tensor:
        """Mixes."""
        mixed = self.beta[-1] * vector
        for k, (name, projection) in enumerate(self.projections.items()):
            mixed = mixed + self.beta[k] * projection(self.pools[name](stages[name]))
        return mixed


class SluiceSharing(Sharing):
    """A network for each task; after every stage subspaces are mixed between networks, and each head reads all stages.

        penalty = weight sum over active tasks' networks, stages, pairs of subspaces s < u:  |G_s G_u^T|_F^2

    G_s: the rows that make subspace s, of the last weight in a stage that puts out its channels.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: the backbone is one opaque stage.
    Note:   the paper's layers are LSTMs of one width, whose outputs beta mixes as they are; here stages are pooled, and
            all but the last projected to the vector's width. Networks start equal.
    Source: Ruder, Bingel, Augenstein, Sogaard, Latent multi-task architecture learning, AAAI 2019, equations 1 to 4.
    """

    mixes_all = True

    def __init__(self, option: Sluice, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        needs_stages(factory.spec, "sharing=sluice mixes after every stage")
        self._option = option
        self._tasks = tuple(tasks)
        self._spec = spec = factory.spec
        self.networks = nn.ModuleDict({slot(task): factory() for task in tasks})
        self.mixtures = nn.ModuleDict(
            {stage.name: Subspaces(len(tasks), stage, option.subspaces, option.same) for stage in spec.stages}
        )
        self.skips = nn.ModuleDict({slot(task): Skip(spec.stages, spec.width, option.last) for task in tasks})

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """Runs all networks, as each is mixed from all; after the last stage only those of `tasks` go on."""
        found = side_by_side.run(self.networks, self.mixtures, inputs, tasks)
        return {
            task: own._replace(vector=self.skips[slot(task)](own.stages, own.vector)) for task, own in found.items()
        }

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The last mixture: the only parameters of the last stage that are of no network."""
        return list(self.mixtures[self._spec.stages[-1].name].parameters()) if len(self._tasks) > 1 else []

    def groups(self) -> list[Group]:
        """alpha and beta, with their own learning rate and no decay."""
        betas = [cast(Skip, skip).beta for skip in self.skips.values()]
        return [Group([*self.mixtures.parameters(), *betas], self._option.lr_factor, decay=False)]

    def penalty(self, features: Mapping[str, Features], heads: Mapping[str, nn.Module]) -> Tensor | None:
        """How far subspaces of the active tasks' networks are from orthogonal; none with a weight of zero."""
        terms = [
            overlap(weight, self._option.subspaces)
            for task in features
            for stage in self._spec.stages
            if (weight := _last_weight(cast(Backbone, self.networks[slot(task)]).stages[stage.name], stage.channels))
            is not None
        ]
        return self._option.orthogonality * torch.stack(terms).sum() if terms and self._option.orthogonality else None


def overlap(weight: Tensor, subspaces: int) -> Tensor:
    """sum_(s < u) |G_s G_u^T|_F^2 of equal slices of the rows. Shapes: (C, ...) -> ()"""
    rows = weight.flatten(1)
    count = min(subspaces, rows.shape[0])
    slices = rows[: rows.shape[0] // count * count].view(count, -1, rows.shape[1])
    products = torch.einsum("sci,udi->sucd", slices, slices).square().sum((2, 3))
    total: Tensor = products.triu(1).sum()
    return total


def _last_weight(stage: nn.Module, channels: int) -> nn.Parameter | None:
    """The last matrix or convolution of a stage that puts out so many channels and trains."""
    found = [p for p in stage.parameters() if p.dim() > 1 and p.shape[0] == channels and p.requires_grad]
    return found[-1] if found else None
