"""A backbone for each task, their features joined and reduced between stages."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, BackboneFactory, Features, Spec, StageSpec
from mtl_cli.contracts import Group, slot
from mtl_cli.sharing import side_by_side
from mtl_cli.sharing.base import Sharing, needs_stages
from mtl_cli.sharing.options import Nddr


class Reduction(nn.Module):
    """The T networks' features of one stage side by side, and for each network a map back to its channels.

        y_i = BN_i(W_i [x_1, ..., x_T]),  W_i: same I for x_i and (1 - same) / (T - 1) I for the others at the start

    W_i: a 1x1 convolution, (C, T C); on vectors and sequences a linear layer.

    Shapes: T tensors (B, C, ...) or (B, L, D) -> the same
    """

    def __init__(self, networks: int, stage: StageSpec, same: float) -> None:
        super().__init__()
        others = (1 - same) / (networks - 1) if networks > 1 else 0.0
        self._map = stage.kind == "map"
        unit = torch.eye(stage.channels)
        self.weights = nn.ParameterList(
            torch.cat([(same if networks > 1 else 1.0) * unit if j == i else others * unit for j in range(networks)], 1)
            for i in range(networks)
        )
        norm = nn.BatchNorm2d if self._map else nn.BatchNorm1d
        self.norms = nn.ModuleList(norm(stage.channels) for _ in range(networks))

    def forward(self, features: list[Tensor], wanted: Sequence[int]) -> list[Tensor]:
        """What the wanted networks go on with."""
        joined = torch.cat(features, dim=1 if self._map else -1)
        return [self._reduced(joined, i) for i in wanted]

    def _reduced(self, joined: Tensor, i: int) -> Tensor:
        if self._map:
            reduced: Tensor = self.norms[i](nn.functional.conv2d(joined, self.weights[i][:, :, None, None]))
            return reduced
        mapped = nn.functional.linear(joined, self.weights[i])
        normed: Tensor = self.norms[i](mapped.flatten(0, -2))
        return normed.view(mapped.shape)


class NddrSharing(Sharing):
    """A network for each task; after every stage each goes on with a learned reduction of all networks' features.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: the backbone is one opaque stage.
    Note:   the paper's networks were trained for one task each before; here they start equal. Its short cuts, which
            bring all reductions to the last layer, are not built. Code that is in use has a ReLU behind the norm; the
            paper names none, and stages that end without one would lose what is below zero.
    Source: Gao, Ma, Zhao, Liu, Yuille, NDDR-CNN: layerwise feature fusing in multi-task CNNs by neural discriminative
            dimensionality reduction, CVPR 2019, sections 3.2 and 3.3.
    """

    mixes_all = True

    def __init__(self, option: Nddr, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        needs_stages(factory.spec, "sharing=nddr joins networks after every stage")
        self._lr_factor = option.lr_factor
        self._spec = factory.spec
        self.networks = nn.ModuleDict({slot(task): factory() for task in tasks})
        self.reductions = nn.ModuleDict({s.name: Reduction(len(tasks), s, option.same) for s in factory.spec.stages})

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """Runs all networks, as each reads all; after the last stage only those of `tasks` go on."""
        return side_by_side.run(self.networks, self.reductions, inputs, tasks)

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """What trains of the last stages of all networks, or the reductions before: a last reduction is its task's."""
        if len(self.networks) == 1:
            return []
        *before, last = self.reductions
        networks = cast(list[Backbone], list(self.networks.values()))
        found = [p for network in networks for p in network.stages[last].parameters() if p.requires_grad]
        return found or [p for name in before[-1:] for p in self.reductions[name].parameters()]

    def groups(self) -> list[Group]:
        """The reductions, with their own learning rate; as everywhere, matrices decay and norms do not."""
        own = list(self.reductions.parameters())
        return [
            Group([p for p in own if p.dim() > 1], self._lr_factor, decay=True),
            Group([p for p in own if p.dim() <= 1], self._lr_factor, decay=False),
        ]
