"""What a task is: a target, a head's output, a loss, metrics; and the state that train fits for it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from msgspec import Struct
from torch import Tensor, nn
from torchmetrics import Metric

from mtl_cli.data.base import Column, labelled
from mtl_cli.tasks.options import METRICS, TaskOption


class Fitted(Struct, frozen=True):
    """What is read off the training targets, kept with a checkpoint.

    classes: their names, in the order of the outputs; empty for a regression.
    mean, std: of a regression's target; 0 and 1 otherwise.
    class_weights: one a class, or empty for equal ones.
    constants: for each metric, the constant output that does best on train.
    """

    classes: tuple[str, ...]
    mean: float
    std: float
    class_weights: tuple[float, ...]
    constants: dict[str, tuple[float, ...]]


class Loss(nn.Module, ABC):
    """A loss that is summed over the labelled items; its mean is `forward` over `count`."""

    gaussian: ClassVar[bool] = False
    """Whether the loss is the squared error of a Gaussian, which uw weighs by 1 / (2 sigma^2)."""

    @abstractmethod
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The sum over labelled items, a scalar."""

    @abstractmethod
    def count(self, target: Tensor) -> Tensor:
        """What the sum is divided by: labelled items, or the sum of their class weights."""


class Task(ABC):
    """One thing to predict. Knows its targets, loss and metrics; its head stands in the model."""

    def __init__(self, name: str, option: TaskOption, fitted: Fitted, loss: Loss) -> None:
        self.name = name
        self.option = option
        self.fitted = fitted
        self.loss = loss

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers that the head puts out for each sample."""

    @abstractmethod
    def loss_sum(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss summed over labelled items. Shapes: output (B, width), target (B,) -> ()"""

    @abstractmethod
    def prediction(self, output: Tensor) -> Tensor:
        """What metrics look at, in the target's own units. Shapes: (B, width) -> (B, ...)"""

    @abstractmethod
    def metric(self, name: str) -> Metric:
        """A fresh torchmetrics metric of that name."""

    @abstractmethod
    def best_constant(self, name: str) -> Tensor:
        """The constant output, fitted on train, that the metric's skill is measured from. Shape: (width,)"""

    def count(self, target: Tensor) -> Tensor:
        """What `loss_sum` is divided by. Shapes: target (B,) -> ()"""
        return self.loss.count(target)

    def skill(self, metric: str, value: float, constant: float) -> float:
        """How much better than the best constant: 1 - e / e0, 1 at best and 0 for the constant.

        e = 1 - value for a bounded metric, or the value itself for an error; a metric that is a skill is its own.
        """
        facts = METRICS[str(self.option.__struct_config__.tag)][metric]
        if facts.skill:
            return value
        error, error_0 = (1 - value, 1 - constant) if facts.bounded else (value, constant)
        return 1 - error / error_0 if error_0 > 0 else 0.0


Columns = Mapping[str, Column]
__all__ = ["Columns", "Fitted", "Loss", "Task", "labelled", "torch"]
