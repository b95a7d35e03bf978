"""Losses, each summed over the labelled items so that ratios of sums are right under any split of a batch."""

import torch
from torch import Tensor
from torch.nn import functional

from mtl_cli.data.base import MISSING, labelled
from mtl_cli.tasks.base import Loss
from mtl_cli.tasks.options import BinaryCrossEntropy, CrossEntropy, Huber, LossOption, MultilabelCrossEntropy


class CrossEntropyLoss(Loss):
    """Cross-entropy of a softmax.

    sum_b w_y (-(1 - s) log p_y - s mean_k (w_k / w_y) log p_k), s the label smoothing; count: sum_b w_y

    Shapes: output (B, C), target (B,) int64 -> ()
    """

    def __init__(self, option: CrossEntropy, class_weights: tuple[float, ...]) -> None:
        super().__init__(option, class_weights)
        self._smoothing = option.label_smoothing
        self.register_buffer("weights_C", _tensor(class_weights), persistent=False)
        self.weights_C: Tensor | None

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Sums."""
        weights_C = None if self.weights_C is None else self.weights_C.to(output.dtype)
        return functional.cross_entropy(
            output, target, weights_C, ignore_index=MISSING, reduction="sum", label_smoothing=self._smoothing
        )

    def count(self, target: Tensor) -> Tensor:
        """Labels, or the sum of their classes' weights."""
        mask = labelled(target)
        return mask.sum() if self.weights_C is None else (self.weights_C[target.clamp_min(0)] * mask).sum()


class BinaryCrossEntropyLoss(Loss):
    """Cross-entropy of a sigmoid.

    sum_b w_y (-z log p - (1 - z) log(1 - p)), z = (1 - s) y + s / 2; count: sum_b w_y

    Shapes: output (B, 1), target (B,) float, NaN where missing -> ()
    """

    def __init__(self, option: BinaryCrossEntropy, class_weights: tuple[float, ...]) -> None:
        super().__init__(option, class_weights)
        self._smoothing = option.label_smoothing
        self.register_buffer("weights_2", _tensor(class_weights), persistent=False)
        self.weights_2: Tensor | None

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Sums."""
        smooth = (1 - self._smoothing) * target.nan_to_num(0.0) + self._smoothing / 2
        return functional.binary_cross_entropy_with_logits(
            output[:, 0], smooth.to(output.dtype), self._weight(target).to(output.dtype), reduction="sum"
        )

    def count(self, target: Tensor) -> Tensor:
        """Labels, or the sum of their classes' weights."""
        return self._weight(target).sum()

    def _weight(self, target: Tensor) -> Tensor:
        mask = labelled(target).to(target.dtype)
        return mask if self.weights_2 is None else mask * self.weights_2[target.nan_to_num(0.0).long()]


class MultilabelCrossEntropyLoss(Loss):
    """Cross-entropy of a sigmoid for each of C tags, so that its mean is on the scale of one tag's.

    1/C sum_bc w_bc (-z log p - (1 - z) log(1 - p)), z = (1 - s) y + s / 2; w_bc = w_c where y_bc = 1, else 1;
    count: 1/C sum_bc w_bc, the labelled rows where there are no weights

    Shapes: output (B, C), target (B, C) float, NaN in a row without a label -> ()
    """

    def __init__(self, option: MultilabelCrossEntropy, class_weights: tuple[float, ...]) -> None:
        super().__init__(option, class_weights)
        self._smoothing = option.label_smoothing
        self.register_buffer("weights_C", _tensor(class_weights), persistent=False)
        self.weights_C: Tensor | None

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Sums."""
        smooth = (1 - self._smoothing) * target.nan_to_num(0.0) + self._smoothing / 2
        total = functional.binary_cross_entropy_with_logits(
            output, smooth.to(output.dtype), self._weight(target).to(output.dtype), reduction="sum"
        )
        return total / target.shape[1]

    def count(self, target: Tensor) -> Tensor:
        """Labelled rows, or the sum of their tags' mean weights."""
        return labelled(target).sum() if self.weights_C is None else self._weight(target).sum() / target.shape[1]

    def _weight(self, target: Tensor) -> Tensor:
        mask = labelled(target)[:, None].to(target.dtype)
        if self.weights_C is None:
            return mask.expand_as(target)
        return mask * torch.where(target == 1, self.weights_C.to(target.dtype), 1.0)


class ErrorLoss(Loss):
    """A function of the error of a standardised number. Shapes: output (B, 1), target (B,), NaN where missing -> ()"""

    def __init__(self, option: LossOption, class_weights: tuple[float, ...]) -> None:
        super().__init__(option, class_weights)

    def count(self, target: Tensor) -> Tensor:
        """Labels."""
        return labelled(target).sum()

    @staticmethod
    def both(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Output and target; where the label is missing both are zero, in value and gradient."""
        mask = labelled(target)
        return torch.where(mask, output[:, 0], 0.0), target.nan_to_num(0.0).to(output.dtype)


class SquaredLoss(ErrorLoss):
    """sum_b (y - z)^2."""

    gaussian = True

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Sums."""
        return functional.mse_loss(*self.both(output, target), reduction="sum")


class AbsoluteLoss(ErrorLoss):
    """sum_b |y - z|."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Sums."""
        return functional.l1_loss(*self.both(output, target), reduction="sum")


class HuberLoss(ErrorLoss):
    """sum_b e^2 / 2 where |e| < delta, else delta (|e| - delta / 2).

    Source: Huber, Robust estimation of a location parameter, Annals of Mathematical Statistics 35, 1964.
    """

    def __init__(self, option: Huber, class_weights: tuple[float, ...]) -> None:
        super().__init__(option, class_weights)
        self._delta = option.delta

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Sums."""
        return functional.huber_loss(*self.both(output, target), reduction="sum", delta=self._delta)


def _tensor(class_weights: tuple[float, ...]) -> Tensor | None:
    return torch.tensor(class_weights) if class_weights else None
