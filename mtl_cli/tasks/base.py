"""What a task is: a target, a head's output, a loss, metrics; and what is read off the training targets for it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from msgspec import Struct
from torch import Tensor, nn

from mtl_cli.backbones.base import Features
from mtl_cli.data.base import Column, Reads
from mtl_cli.tasks.options import METRICS, LossOption, TaskOption


class Fitted(Struct, frozen=True):
    """What is read off the training targets, kept with a checkpoint.

    classes: their names, in the order of the outputs; empty for a regression.
    mean, std: of a regression's target; 0 and 1 otherwise.
    class_weights: one a class; empty for equal ones.
    constants: for each metric, the constant output that does best on train.
    """

    classes: tuple[str, ...]
    mean: float
    std: float
    class_weights: tuple[float, ...]
    constants: Mapping[str, tuple[float, ...]]


class Measure(Protocol):
    """What evaluation asks of a metric."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds a batch. Shapes: as a task's `prediction` and `metric_target` give them"""

    def compute(self) -> Any:
        """The value over all batches: what float() takes."""


class Head(nn.Module, ABC):
    """Features of one task to its output; built from (option, spec, width, its key in the configuration).

    Raises: ConfigError: the spec lacks what the head reads.
    """

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """Shapes: Features of (B, ...) -> (B, width)."""


class Loss(nn.Module, ABC):
    """A loss summed over the labelled items; built from (option, class weights)."""

    gaussian: ClassVar[bool] = False
    """Whether it is the squared error of a Gaussian."""
    nonnegative: ClassVar[bool] = True
    """Whether it is never below zero."""

    def __init__(self, option: LossOption, class_weights: tuple[float, ...]) -> None:
        super().__init__()
        self.option = option
        self.class_weights = class_weights

    @property
    def counts_labels(self) -> bool:
        """Whether `count` is the number of labelled items."""
        return not self.class_weights

    @abstractmethod
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The sum over labelled items. Shapes: (B, width), (B,) or (B, C) -> ()"""

    @abstractmethod
    def count(self, target: Tensor) -> Tensor:
        """What the sum is divided by: labelled items, or the sum of their class weights. Shapes: as the target -> ()"""


class Task(ABC):
    """One thing to predict. Knows its targets, loss and metrics; its head stands in the model."""

    reads: ClassVar[Reads] = "classes"
    """What it takes a column for that its target names as it is."""
    several: ClassVar[bool] = False
    """Whether an item may have any number of the classes: targets are (N, C), zeros and ones, NaN without a label."""

    def __init__(self, name: str, option: TaskOption, fitted: Fitted, loss: Loss) -> None:
        self.name = name
        self.option = option
        self.fitted = fitted
        self.loss = loss

    @staticmethod
    @abstractmethod
    def encode(name: str, option: TaskOption, column: Column) -> tuple[Tensor, tuple[str, ...]]:
        """A column as this kind's targets, (N,) or (N, C), and class names.

        Raises: ConfigError: the column does not fit the kind.
        """

    @staticmethod
    @abstractmethod
    def fit(name: str, option: TaskOption, target: Tensor, classes: tuple[str, ...]) -> Fitted:
        """Reads off the training targets what the task needs to know.

        Raises: ConfigError: train has no label, or class weights do not fit.
        """

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers that the head puts out for each sample."""

    @abstractmethod
    def prediction(self, output: Tensor) -> Tensor:
        """What metrics look at, in the target's own unit. Shapes: (B, width) -> (B,) or (B, C)"""

    @abstractmethod
    def readout(self, output: Tensor) -> dict[str, Tensor]:
        """What a shipped model says: plain tensor operations that export, in float32, on any device.

        `logits` (B, width) and `probabilities` (B, C) in the order of `fitted.classes`, or `value` (B,) in the target's
        own unit.

        Shapes: (B, width) -> {name: (B, ...)}
        """

    @abstractmethod
    def metric(self, name: str) -> Measure:
        """A fresh metric, torchmetrics' say."""

    @abstractmethod
    def defined(self, name: str, target: Tensor) -> bool:
        """Whether a metric has a value on these labels. Shapes: (N,) or (N, C), N at least 1"""

    def cell(self, tags: Sequence[str]) -> str:
        """Tags of one item as text, where it may have several."""
        return ",".join(tags)

    def metric_target(self, target: Tensor) -> Tensor:
        """The labels in the type that metrics take. Shapes: as they are"""
        return target.long()

    def signed(self, value: float) -> float:
        """The primary metric's value with the sign that makes higher better."""
        facts = METRICS[str(self.option.__struct_config__.tag)][self.option.primary]
        return value if facts.best == "max" else -value

    def loss_sum(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss summed over labelled items. Shapes: (B, width), (B,) or (B, C) -> ()"""
        return self.loss(output, target)  # type: ignore[no-any-return]  # nn.Module's call is untyped

    def count(self, target: Tensor) -> Tensor:
        """What `loss_sum` is divided by. Shapes: (B,) or (B, C) -> ()"""
        return self.loss.count(target)

    def skill(self, metric: str, value: float, constant: float) -> float:
        """How much better than the best constant: 1 - e / e0; 1 at best, 0 for the constant itself.

        e = 1 - value for a bounded metric, or the value itself for an error; a metric that is a skill is its own.
        """
        facts = METRICS[str(self.option.__struct_config__.tag)][metric]
        if facts.skill:
            return value
        error, error_0 = (1 - value, 1 - constant) if facts.bounded else (value, constant)
        return 1 - error / error_0 if error_0 > 0 else float(error == 0)
