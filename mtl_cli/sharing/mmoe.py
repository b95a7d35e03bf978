"""Experts that every task mixes in its own way."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Pool, Spec
from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError, nearest
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import Mmoe


class Expert(nn.Module):
    """Linear layers, each with ReLU. Shapes: (B, D) -> (B, last hidden width)"""

    def __init__(self, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for wide_in, wide_out in pairwise((width, *hidden)):
            layers += [nn.Linear(wide_in, wide_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, vector: Tensor) -> Tensor:
        """What it makes of the stem's vector."""
        made: Tensor = self.layers(vector)
        return made


class MmoeSharing(Sharing):
    """A backbone as the stem of all tasks, E experts on its vector, and a gate for each task that mixes them.

        f_t(x) = sum_e g_t(x)_e f_e(h(x)),  g_t(x) = softmax(W_t u(x))

    h: the stem's vector. f_e: expert e. u: what gates read, h itself or a pooled stage of the stem.

    Shapes: inputs (B, ...) -> Features of (B, ...), their vector (B, hidden[-1])
    Raises: ConfigError: gates read a stage that the backbone does not have.
    Note:   in the paper experts and gates read the input; a stem before them, which is all that the two read, is what
            makes them fit any backbone. Experts start at draws of their own, as equal ones would stay equal.
    Source: Ma, Zhao, Yi, Chen, Hong, Chi, Modeling task relationships in multi-task learning with multi-gate
            mixture-of-experts, KDD 2018, equations 6 to 8.
    """

    def __init__(self, option: Mmoe, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.stem = factory()
        self._gate_at = option.gate_at
        self._spec = Spec(option.hidden[-1], factory.spec.stages, factory.spec.opaque)
        width, self.pool = _read_by_gates(option.gate_at, factory.spec)
        self.experts = nn.ModuleList(Expert(factory.spec.width, option.hidden) for _ in range(option.experts))
        self.gates = nn.ModuleDict({slot(task): nn.Linear(width, option.experts, bias=False) for task in tasks})

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass through stem and experts, mixed for each task."""
        stem = self.stem(inputs)
        read = stem.vector if self._gate_at is None else self.pool(stem.stages[self._gate_at])
        made_BDE = torch.stack([expert(stem.vector) for expert in self.experts], dim=2)
        mixed: dict[str, Features] = {}
        for task in tasks:
            gate_BE = self.gates[slot(task)](read).softmax(dim=1)
            vector = (made_BDE @ gate_BE[:, :, None])[:, :, 0]
            mixed[task] = Features(vector, stem.stages, None, {"gate": gate_BE})
        return mixed

    def spec(self, task: str) -> Spec:  # the same for every task
        """The stem's stages, and the experts' width."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The experts."""
        return list(self.experts.parameters())


def _read_by_gates(at: str | None, spec: Spec) -> tuple[int, nn.Module]:
    """The width of what gates read, and how a stage becomes a vector."""
    if at is None:
        return spec.width, nn.Identity()
    names = [stage.name for stage in spec.stages]
    if at not in names:
        raise ConfigError(f"sharing.gate_at={at} is no stage of the backbone: {nearest(at, names)}")
    stage = spec.stage(at)
    return stage.channels, Pool(stage.kind)
