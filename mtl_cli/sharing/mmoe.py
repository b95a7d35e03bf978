"""Experts that every task mixes in its own way."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.contracts import slot
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.experts import GateReader, experts, mixed
from mtl_cli.sharing.options import Mmoe


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
        self._spec = Spec(option.hidden[-1], factory.spec.stages, factory.spec.opaque)
        self.reader = GateReader(option.gate_at, factory.spec)
        self.experts = experts(option.experts, factory.spec.width, option.hidden)
        self.gates = nn.ModuleDict(
            {slot(task): nn.Linear(self.reader.width, option.experts, bias=False) for task in tasks}
        )

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass through stem and experts, mixed for each task."""
        stem = self.stem(inputs)
        read = self.reader(stem)
        made = [expert(stem.vector) for expert in self.experts]
        found: dict[str, Features] = {}
        for task in tasks:
            gate_BE = self.gates[slot(task)](read).softmax(dim=1)
            found[task] = Features(mixed(made, gate_BE), stem.stages, None, {"gate": gate_BE})
        return found

    def spec(self, task: str) -> Spec:  # the same for every task
        """The stem's stages, and the experts' width."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The experts."""
        return list(self.experts.parameters())
