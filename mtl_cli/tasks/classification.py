"""One of several classes."""

import torch
from torch import Tensor

from mtl_cli.data.base import MISSING, Column, labelled
from mtl_cli.options import ConfigError
from mtl_cli.tasks.base import Fitted, Measure, Task
from mtl_cli.tasks.options import TaskOption
from mtl_cli.tasks.weights import class_weights


class ClassificationTask(Task):
    """A class index; outputs are logits. Shapes: output (B, C), target (B,) int64, MISSING where there is no label."""

    @staticmethod
    def encode(name: str, option: TaskOption, column: Column) -> tuple[Tensor, tuple[str, ...]]:  # noqa: ARG004  # every kind's
        """Classes as they are; whole numbers become classes named after them."""
        if column.classes is not None:
            return column.values.long(), column.classes
        mask = labelled(column.values)
        values = column.values[mask].unique()
        wrong = values[(values != values.round()) | values.isinf()]
        if len(wrong) > 0:
            raise ConfigError(f"tasks.{name}.target should be classes. Found {float(wrong[0])}, no whole number")
        codes = torch.full(column.values.shape, MISSING)
        codes[mask] = torch.searchsorted(values, column.values[mask])
        return codes, tuple(str(int(value)) for value in values)

    @staticmethod
    def fit(name: str, option: TaskOption, target: Tensor, classes: tuple[str, ...]) -> Fitted:
        """The majority class is the best constant for accuracy, and for macro F1 too."""
        labels = target[labelled(target)]
        if len(labels) == 0:
            raise ConfigError(f"tasks.{name} has no label in train: check its target, or leave it out (~tasks.{name})")
        if len(classes) < 2:
            raise ConfigError(f"tasks.{name}.target should have two classes or more. Found only {classes[0]}")
        counts_C = torch.bincount(labels, minlength=len(classes))
        constant = tuple(torch.nn.functional.one_hot(counts_C.argmax(), len(classes)).double().tolist())
        weights = class_weights(name, option.loss, counts_C)
        return Fitted(classes, 0.0, 1.0, weights, dict.fromkeys(option.metrics, constant))

    @property
    def width(self) -> int:
        """One logit a class."""
        return len(self.fitted.classes)

    def prediction(self, output: Tensor) -> Tensor:
        """The class of the largest logit."""
        return output.argmax(1)

    def readout(self, output: Tensor) -> dict[str, Tensor]:
        """A logit and a probability for each class."""
        return {"logits": output, "probabilities": output.softmax(1)}

    def defined(self, name: str, target: Tensor) -> bool:  # both are, on any label
        """Always."""
        return True

    def metric(self, name: str) -> Measure:
        """Accuracy over samples, or F1 averaged over classes."""
        from mtl_cli.tasks.metrics import CLASSIFICATION, alone  # not at the top: torchmetrics takes a second

        return alone(CLASSIFICATION[name](self.width))
