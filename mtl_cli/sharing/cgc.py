"""Experts that all tasks mix, beside experts of each task's own."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.experts import GateReader
from mtl_cli.sharing.extraction import Extraction
from mtl_cli.sharing.options import Cgc


class CgcSharing(Sharing):
    """A backbone as the stem of all tasks; each task mixes shared experts and its own by its own gate.

        f_t(x) = sum_e g_t(x)_e s_t(h(x))_e,  g_t(x) = softmax(W_t u(x))

    h: the stem's vector. s_t: what the task's own experts and the shared ones make of it. u: what gates read, h itself
    or a pooled stage of the stem.

    Shapes: inputs (B, ...) -> Features of (B, ...), their vector (B, hidden[-1])
    Raises: ConfigError: gates read a stage that the backbone does not have.
    Note:   in the paper experts and gates read the input; here a stem is before them, as in mmoe.
    Source: Tang, Liu, Zhao, Gong, Progressive layered extraction (PLE), RecSys 2020, section 4.1, equations 1 to 4.
    """

    def __init__(self, option: Cgc, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.stem = factory()
        self._spec = Spec(option.hidden[-1], factory.spec.stages, factory.spec.opaque)
        self.reader = GateReader(option.gate_at, factory.spec)
        self.extraction = Extraction(
            list(tasks),
            option.shared_experts,
            option.task_experts,
            factory.spec.width,
            option.hidden,
            self.reader.width,
        )

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass through the stem and the shared experts; own experts and gates of those tasks alone."""
        stem = self.stem(inputs)
        read = self.reader(stem)
        vectors = self.extraction(dict.fromkeys(tasks, stem.vector), dict.fromkeys(tasks, read), stem.vector)
        return {task: Features(vector, stem.stages, None, {}) for task, vector in vectors.items()}

    def spec(self, task: str) -> Spec:  # the same for every task
        """The stem's stages, and the experts' width."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The shared experts."""
        return list(self.extraction.shared.parameters())
