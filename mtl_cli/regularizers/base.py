"""Penalties on parameters, added after balancing."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from mtl_cli.regularizers.options import RegularizerOption


class Regularizer(ABC):
    """A scalar of some parameters; the engine gives it those that the step's active tasks use."""

    def __init__(self, option: RegularizerOption) -> None:
        self.option = option

    @abstractmethod
    def penalty(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """The weighted penalty. Shapes: ()"""
