"""torchmetrics' metrics, by the kind of task and the name.

Kinds import this where they are asked for a metric, not at their top: torchmetrics takes a second, and brings scipy,
matplotlib and torchvision where they are installed. No step needs it.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassF1Score,
    MultilabelAccuracy,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score
from torchmetrics.utilities.data import dim_zero_cat


def alone(metric: Metric) -> Metric:
    """The same for this process only: of several, one has the answers of all, and torchmetrics would ask the others."""
    metric.distributed_available_fn = lambda: False
    return metric


class CentredR2(R2Score):
    """R2 of numbers less their mean on train: torchmetrics' sums of squares of large numbers lose the variance."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self._mean = mean

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds a batch."""
        super().update(preds - self._mean, target - self._mean)


class MeanAveragePrecision(MultilabelAveragePrecision):
    """The mean over the tags that some item has: torchmetrics' warns, and takes another tag's for 0."""

    def compute(self) -> Tensor:  # type: ignore[override]  # as torchmetrics' own: it is a curve's by inheritance
        """One number."""
        predictions, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        occurring = (target == 1).any(0).nonzero()[:, 0].tolist()
        return torch.stack([binary_average_precision(predictions[:, c], target[:, c]) for c in occurring]).mean()


BINARY: dict[str, Callable[[], Metric]] = {"accuracy": BinaryAccuracy, "auroc": BinaryAUROC, "f1": BinaryF1Score}
CLASSIFICATION: dict[str, Callable[[int], Metric]] = {
    "accuracy": lambda width: MulticlassAccuracy(width, average="micro"),
    "f1_macro": lambda width: MulticlassF1Score(width, average="macro"),
}
MULTILABEL: dict[str, Callable[[int], Metric]] = {
    "f1_micro": lambda width: MultilabelF1Score(width, average="micro"),
    "f1_macro": lambda width: MultilabelF1Score(width, average="macro"),
    "map": MeanAveragePrecision,
    "accuracy": lambda width: MultilabelAccuracy(width, average="micro"),
}
REGRESSION: dict[str, Callable[[float], Metric]] = {
    "mae": lambda _: MeanAbsoluteError(),
    "rmse": lambda _: MeanSquaredError(squared=False),
    "r2": CentredR2,
}
"""Of the target's mean on train."""
