"""A backbone for each task, with learned linear mixtures between them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Kind, Spec, StageSpec
from mtl_cli.contracts import Group, slot
from mtl_cli.sharing import side_by_side
from mtl_cli.sharing.base import Sharing, needs_stages
from mtl_cli.sharing.options import CrossStitch


class Stitch(nn.Module):
    """Mixes the T networks' features of one stage.

    y_i = sum_j a_ij x_j, a_ii = same and a_ij = (1 - same) / (T - 1) at the start

    Shapes: T tensors (B, C, ...) or (B, L, D) -> the same; a is (T, T, C), or (T, T, 1) for one a stage
    """

    def __init__(self, networks: int, stage: StageSpec, same: float, per_channel: bool) -> None:
        super().__init__()
        others = (1 - same) / (networks - 1) if networks > 1 else 0.0
        start_TT = torch.full((networks, networks), others).fill_diagonal_(same if networks > 1 else 1.0)
        channels = stage.channels if per_channel else 1
        self.mixture_TTC = nn.Parameter(start_TT[..., None].repeat(1, 1, channels))
        self._shape = _shape(stage.kind)

    def forward(self, features: list[Tensor], wanted: Sequence[int]) -> list[Tensor]:
        """The mixtures of the wanted networks."""
        factors = self.mixture_TTC.view(*self.mixture_TTC.shape, *self._shape)
        mixed = []
        for i in wanted:
            total = factors[i, 0] * features[0]
            for j in range(1, len(features)):
                total = total + factors[i, j] * features[j]
            mixed.append(total)
        return mixed


class CrossStitchSharing(Sharing):
    """A network for each task; after every stage each goes on with a learned mixture of all.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: the backbone is one opaque stage.
    Note:   the paper stitches after pooling and fully connected layers; here after every stage of the backbone.
            Its networks are fine-tuned single-task ones; here they start equal.
    Source: Misra, Shrivastava, Gupta, Hebert, Cross-stitch networks for multi-task learning, CVPR 2016, eq. 1.
    """

    mixes_all = True

    def __init__(self, option: CrossStitch, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        needs_stages(factory.spec, "sharing=cross_stitch mixes after every stage")
        self._lr_factor = option.lr_factor
        self._spec = factory.spec
        self.networks = nn.ModuleDict({slot(task): factory() for task in tasks})
        self.stitches = nn.ModuleDict(
            {s.name: Stitch(len(tasks), s, option.same, option.per_channel) for s in factory.spec.stages}
        )

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """Runs all networks, as each is mixed from all; after the last stage only those of `tasks` go on."""
        return side_by_side.run(self.networks, self.stitches, inputs, tasks)

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The last mixture: the only parameters of the last stage that all tasks reach."""
        return list(self.stitches[self._spec.stages[-1].name].parameters())

    def groups(self) -> list[Group]:
        """The mixtures, with their own learning rate and no decay."""
        return [Group(list(self.stitches.parameters()), self._lr_factor, decay=False)]


def _shape(kind: Kind) -> tuple[int, ...]:
    return (1, 1) if kind == "map" else ()
