"""Levels of extraction: experts of each task and shared ones, level upon level."""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.experts import GateReader
from mtl_cli.sharing.extraction import Extraction, Passing
from mtl_cli.sharing.options import Ple


class PleSharing(Sharing):
    """A backbone as the stem of all tasks, and levels of shared and own experts that are separated step by step.

        level k:  y_t^k = sum_e softmax(W_t^k y_t^(k-1))_e [E_t^k(y_t^(k-1)), E_s^k(y_s^(k-1))]_e
                  y_s^k = sum_e softmax(W_s^k y_s^(k-1))_e [E_1^k(y_1^(k-1)), ..., E_T^k(y_T^(k-1)), E_s^k(y_s^(k-1))]_e
        f_t(x) = y_t^K,  y_t^0 = y_s^0 = h(x)

    h: the stem's vector. The last level has no y_s. On the first, gates read h or a pooled stage of the stem.

    Shapes: inputs (B, ...) -> Features of (B, ...), their vector (B, hidden[-1])
    Raises: ConfigError: gates read a stage that the backbone does not have.
    Note:   in the paper experts and gates read the input; here a stem is before them, as in mmoe. One task alone needs
            every task's experts on all levels but the last, as y_s mixes them.
    Source: Tang, Liu, Zhao, Gong, Progressive layered extraction (PLE), RecSys 2020, section 4.2, equations 5 and 6.
    """

    def __init__(self, option: Ple, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self._tasks = tuple(tasks)
        self.stem = factory()
        self._spec = Spec(option.hidden[-1], factory.spec.stages, factory.spec.opaque)
        self.reader = GateReader(option.gate_at, factory.spec)
        widths, reads = [factory.spec.width], [self.reader.width]
        widths += [option.hidden[-1]] * (option.levels - 1)
        reads += [option.hidden[-1]] * (option.levels - 1)
        *inner, last = [
            (self._tasks, option.shared_experts, option.task_experts, width, option.hidden, read)
            for width, read in zip(widths, reads, strict=True)
        ]
        self.levels = nn.ModuleList(Passing(*level) for level in inner)
        self.last = Extraction(*last)

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """All experts of every level but the last; there those of the asked tasks alone."""
        stem = self.stem(inputs)
        common = stem.vector
        read = common_read = self.reader(stem)
        vectors, reads = dict.fromkeys(self._tasks, common), dict.fromkeys(self._tasks, read)
        for i, level in enumerate(self.levels, start=1):
            wanted = tasks if i == len(self.levels) else self._tasks
            vectors, common = cast(Passing, level).onward(vectors, reads, common, common_read, wanted)
            reads, common_read = vectors, common
        found = self.last({task: vectors[task] for task in tasks}, reads, common)
        return {task: Features(vector, stem.stages, None, {}) for task, vector in found.items()}

    def spec(self, task: str) -> Spec:  # the same for every task
        """The stem's stages, and the experts' width."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The shared experts of the last level."""
        return list(self.last.shared.parameters())
