"""A number."""

import numpy as np
import torch
from torch import Tensor

from mtl_cli.data.base import Column, labelled
from mtl_cli.options import ConfigError
from mtl_cli.tasks.base import Fitted, Measure, Task
from mtl_cli.tasks.options import TaskOption


class RegressionTask(Task):
    """A number, standardised by train. Shapes: output (B, 1) standardised, target (B,) float in its own unit."""

    reads = "numbers"

    @staticmethod
    def encode(name: str, option: TaskOption, column: Column) -> tuple[Tensor, tuple[str, ...]]:  # noqa: ARG004  # every kind's
        """A column of numbers."""
        if column.classes is not None:
            raise ConfigError(
                f"tasks.{name}.target should be numbers. Found {len(column.classes)} classes: give it a map to numbers"
            )
        if torch.isinf(column.values).any():
            raise ConfigError(f"tasks.{name}.target should be finite. Found an infinite value")
        return column.values.float(), ()

    @staticmethod
    def fit(name: str, option: TaskOption, target: Tensor, classes: tuple[str, ...]) -> Fitted:
        """The mean is the best constant for squared errors, the median for absolute ones."""
        labels = target[labelled(target)].double()
        if len(labels) == 0:
            raise ConfigError(f"tasks.{name} has no label in train: check its target, or leave it out (~tasks.{name})")
        mean, std = float(labels.mean()), float(labels.std(correction=0))
        std = std if std > 0 else 1.0
        median = (float(labels.median()) - mean) / std
        constants = {metric: (median if metric == "mae" else 0.0,) for metric in option.metrics}
        return Fitted(classes, mean, std, (), constants)

    @property
    def width(self) -> int:
        """One number."""
        return 1

    def loss_sum(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss on the standardised target; the mean is taken off in two parts that float32 holds exactly."""
        high = float(np.float32(self.fitted.mean))
        return super().loss_sum(output, (target - high - (self.fitted.mean - high)) / self.fitted.std)

    def prediction(self, output: Tensor) -> Tensor:
        """The number in its own unit, float64 on the CPU: sums of squares of large numbers need it."""
        return output[:, 0].cpu().double() * self.fitted.std + self.fitted.mean

    def readout(self, output: Tensor) -> dict[str, Tensor]:
        """The number in its own unit."""
        return {"value": output[:, 0] * self.fitted.std + self.fitted.mean}

    def defined(self, name: str, target: Tensor) -> bool:
        """R2 needs two different numbers."""
        return name != "r2" or len(target.unique()) > 1

    def metric_target(self, target: Tensor) -> Tensor:
        """Float64, as the predictions."""
        return target.double()

    def metric(self, name: str) -> Measure:
        """Errors in the target's unit, or the share of variance explained."""
        from mtl_cli.tasks.metrics import REGRESSION, alone  # not at the top: torchmetrics takes a second

        return alone(REGRESSION[name](self.fitted.mean).set_dtype(torch.float64))
