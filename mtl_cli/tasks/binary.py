"""Yes or no."""

import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column, labelled
from mtl_cli.options import ConfigError
from mtl_cli.tasks.base import Fitted, Measure, Task
from mtl_cli.tasks.options import TaskOption
from mtl_cli.tasks.weights import class_weights


class BinaryTask(Task):
    """Zero or one; the output is a logit. Shapes: output (B, 1), target (B,) float, NaN where there is no label."""

    @staticmethod
    def encode(name: str, option: TaskOption, column: Column) -> tuple[Tensor, tuple[str, ...]]:  # noqa: ARG004  # every kind's
        """A column of two classes, or of zeros and ones."""
        classes = column.classes or ("0", "1")
        values = column.values.float()
        values = torch.where(column.values == MISSING, torch.nan, values) if column.classes else values
        found = values[labelled(values)].unique()
        if len(classes) != 2 or not torch.isin(found, torch.tensor([0.0, 1.0])).all():
            what = f"{len(classes)} classes" if column.classes else f"the values {found[:5].tolist()}"
            raise ConfigError(
                f"tasks.{name}.target should have two classes or be 0 and 1. Found {what}: "
                "give it a map, {from: column, map: {old: 0, other: 1}}, or one class, {from: column, is: class}"
            )
        return values, classes

    @staticmethod
    def fit(name: str, option: TaskOption, target: Tensor, classes: tuple[str, ...]) -> Fitted:
        """The majority is the best constant for accuracy, always-yes for F1; for AUROC all constants are one half."""
        labels = target[labelled(target)]
        if len(labels) == 0:
            raise ConfigError(f"tasks.{name} has no label in train: check its target, or leave it out (~tasks.{name})")
        counts_2 = torch.bincount(labels.long(), minlength=2)
        majority = 1.0 if counts_2[1] > counts_2[0] else -1.0
        constants = {metric: (1.0 if metric == "f1" else majority,) for metric in option.metrics}
        return Fitted(classes, 0.0, 1.0, class_weights(name, option.loss, counts_2), constants)

    @property
    def width(self) -> int:
        """One logit."""
        return 1

    def prediction(self, output: Tensor) -> Tensor:
        """The probability of a yes, float64 on the CPU: in float32 all logits above 17 would be one rank for AUROC."""
        return output[:, 0].cpu().double().sigmoid()

    def readout(self, output: Tensor) -> dict[str, Tensor]:
        """The logit of a yes, and the probabilities of no and of yes."""
        return {"logits": output, "probabilities": torch.cat([-output, output], 1).sigmoid()}

    def defined(self, name: str, target: Tensor) -> bool:
        """AUROC needs both a yes and a no."""
        return name != "auroc" or len(target.unique()) == 2

    def metric(self, name: str) -> Measure:
        """Accuracy and F1 at one half, AUROC exactly."""
        from mtl_cli.tasks.metrics import BINARY, alone  # not at the top: torchmetrics takes a second

        return alone(BINARY[name]())
