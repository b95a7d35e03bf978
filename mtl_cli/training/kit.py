"""What the two ways of taking a step's gradients, plain and balanced, both work with."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl_cli.training.graph import Usage
from mtl_cli.training.methods import Methods
from mtl_cli.training.passes import Passes
from mtl_cli.training.penalties import Penalties
from mtl_cli.training.processes import Processes
from mtl_cli.training.scale import LossScale


class Kit(NamedTuple):
    """The parts of an engine."""

    parameters: dict[str, nn.Parameter]
    methods: Methods
    usage: Usage
    passes: Passes
    penalties: Penalties
    processes: Processes
    scale: LossScale

    def reached(self, active: Sequence[str]) -> frozenset[str]:
        """Names of the parameters that an active task reaches."""
        return frozenset[str]().union(*(self.usage.of[task] for task in active))


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers are; asks the device once."""
    sums = [tensor.sum() for tensor in tensors]
    return not sums or bool(torch.isfinite(torch.stack([total.to(sums[0]) for total in sums])).all())
