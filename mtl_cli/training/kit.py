"""What the two ways of taking a step's gradients, plain and balanced, both work with."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from mtl_cli.look import Look
from mtl_cli.processes import Processes
from mtl_cli.training.graph import Usage
from mtl_cli.training.methods import Methods
from mtl_cli.training.passes import Passes
from mtl_cli.training.penalties import Penalties
from mtl_cli.training.scale import LossScale
from mtl_cli.training.unread import Unread


class Kit(NamedTuple):
    """The parts of an engine.

    apart: whether each process moves running statistics by its own rows.
    """

    parameters: dict[str, nn.Parameter]
    buffers: list[Tensor]
    methods: Methods
    usage: Usage
    passes: Passes
    penalties: Penalties
    processes: Processes
    scale: LossScale
    apart: bool
    unread: Unread

    def reached(self, active: Sequence[str]) -> frozenset[str]:
        """Names of the parameters that an active task reaches."""
        return frozenset[str]().union(*(self.usage.of[task] for task in active))

    def own_factors(self, look: Look) -> Tensor:
        """What each task's gradient is multiplied by over its own parameters. Shapes: (T,)"""
        return look.factors if self.methods.aggregation.scale_task_parameters else look.c_T

    def statistics(self) -> list[Tensor]:
        """What a forward pass moves; where each process moved its own, all have their mean from here on."""
        held = [buffer for buffer in self.buffers if buffer.is_floating_point()]
        if self.apart:
            self.processes.add_all(held)
            for buffer in held:
                buffer.div_(self.processes.size)
        return held

    def weighting_gradients(self) -> list[Tensor]:
        """Of the weighting's own parameters."""
        return [p.grad for p in self.methods.weighting.own if p.grad is not None]
