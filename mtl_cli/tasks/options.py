"""Options of the task room: kinds of tasks, their heads, losses and metrics."""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from msgspec import Meta, Struct

from mtl_cli.options import Count, NonNegative, Option, Positive, Share, Table


class HeadOption(Option):
    """What every head has: where it reads."""

    at: Annotated[str | None, Meta(description="a stage to read from, pooled; null: the backbone's vector")]


class Linear(HeadOption, tag="linear"):
    """One linear layer."""


class Mlp(HeadOption, tag="mlp"):
    """Hidden layers with ReLU and dropout, then a linear one."""

    hidden: Annotated[list[Count], Meta(description="widths of the hidden layers")]
    dropout: Annotated[Share, Meta(description="share of hidden units dropped")]


HEADS = Table("head", (Linear, "mtl_cli.tasks.heads:LinearHead"), (Mlp, "mtl_cli.tasks.heads:MlpHead"))


class LossOption(Option):
    """What every loss has: the kinds of tasks that it fits."""

    fits: ClassVar[tuple[str, ...]]


class ClassLossOption(LossOption):
    """What every loss over classes has."""

    class_weights: Annotated[
        Literal["balanced"] | list[Positive] | None,
        Meta(description="one a class (of a binary task: no, yes), or balanced by train; null: equal"),
    ]


class CrossEntropy(ClassLossOption, tag="cross_entropy"):
    """Cross-entropy of a softmax over classes."""

    fits = ("classification",)
    label_smoothing: Annotated[Share, Meta(description="share of the target spread over all classes")]


class BinaryCrossEntropy(ClassLossOption, tag="bce"):
    """Cross-entropy of a sigmoid."""

    fits = ("binary",)
    label_smoothing: Annotated[Share, Meta(description="share of the target moved to one half")]


class MultilabelCrossEntropy(ClassLossOption, tag="multilabel_bce"):
    """Cross-entropy of a sigmoid for each tag, their mean."""

    fits = ("multilabel",)
    label_smoothing: Annotated[Share, Meta(description="share of the target moved to one half")]
    class_weights: Annotated[
        Literal["balanced"] | list[Positive] | None,
        Meta(description="one a tag: what it weighs where it is there; balanced: as much as where it is not"),
    ]


class Mse(LossOption, tag="mse"):
    """Mean squared error of the standardised target."""

    fits = ("regression",)


class Mae(LossOption, tag="mae"):
    """Mean absolute error of the standardised target."""

    fits = ("regression",)


class Huber(LossOption, tag="huber"):
    """Squared below delta, linear above (Huber 1964), of the standardised target."""

    fits = ("regression",)
    delta: Annotated[Positive, Meta(description="where it turns linear, in standard deviations of the target")]


LOSSES = Table(
    "loss",
    (CrossEntropy, "mtl_cli.tasks.losses:CrossEntropyLoss"),
    (BinaryCrossEntropy, "mtl_cli.tasks.losses:BinaryCrossEntropyLoss"),
    (MultilabelCrossEntropy, "mtl_cli.tasks.losses:MultilabelCrossEntropyLoss"),
    (Mse, "mtl_cli.tasks.losses:SquaredLoss"),
    (Mae, "mtl_cli.tasks.losses:AbsoluteLoss"),
    (Huber, "mtl_cli.tasks.losses:HuberLoss"),
)


class Metric(NamedTuple):
    """A number that says how good a task's predictions are.

    `best` is max or min; `bounded` ones lie in [0, 1]; `skill` ones are a skill by themselves.
    """

    best: Literal["max", "min"]
    bounded: bool
    skill: bool
    line: str


METRICS: dict[str, dict[str, Metric]] = {
    "classification": {
        "accuracy": Metric("max", True, False, "share of right predictions"),
        "f1_macro": Metric("max", True, False, "F1, mean over classes"),
    },
    "binary": {
        "accuracy": Metric("max", True, False, "share of right predictions at one half"),
        "auroc": Metric("max", True, False, "area under the ROC curve"),
        "f1": Metric("max", True, False, "F1 of the positive class at one half"),
    },
    "regression": {
        "mae": Metric("min", False, False, "mean absolute error, in the target's unit"),
        "rmse": Metric("min", False, False, "root of the mean squared error, in the target's unit"),
        "r2": Metric("max", False, True, "share of the variance explained"),
    },
    "multilabel": {
        "f1_micro": Metric("max", True, False, "F1 of all tags together at one half"),
        "f1_macro": Metric("max", True, False, "F1 at one half, mean over tags"),
        "map": Metric("max", True, False, "average precision, mean over the tags that occur"),
        "accuracy": Metric("max", True, False, "share of right answers at one half, over all tags"),
    },
}


class TaskOption(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every task has."""

    part: Annotated[str | None, Meta(description="the part of the data that it reads; null: the only one")]
    target: Annotated[
        str | dict[str, Any], Meta(description="a column, {from: column, map: {old: new}} or {from: column, is: class}")
    ]
    weight: Annotated[NonNegative, Meta(description="multiplies the weighting's coefficient of its loss")]
    head: Annotated[HeadOption, Meta(description="from features to the task's output")]
    loss: Annotated[Option, Meta(description="what training makes small")]
    metrics: Annotated[list[str], Meta(min_length=1, description="what evaluation reports")]
    primary: Annotated[str, Meta(description="the metric that selection looks at")]


class Classification(TaskOption, tag="classification"):
    """One of several classes; a missing label is -100."""


class Binary(TaskOption, tag="binary"):
    """Yes or no; a missing label is NaN."""


class Regression(TaskOption, tag="regression"):
    """A number, standardised by train and reported in its own unit; a missing one is NaN."""


class Multilabel(TaskOption, tag="multilabel"):
    """Any number of tags, those of an item in one cell; a row without a label is NaN."""

    separator: Annotated[
        str, Meta(min_length=1, title="text, not empty", description="what stands between two tags in a cell")
    ]
    none: Annotated[
        str | None, Meta(description="the cell of an item without any tag; '': an empty one; null: there is none such")
    ]


KINDS = Table(
    "kind",
    (Classification, "mtl_cli.tasks.classification:ClassificationTask"),
    (Binary, "mtl_cli.tasks.binary:BinaryTask"),
    (Regression, "mtl_cli.tasks.regression:RegressionTask"),
    (Multilabel, "mtl_cli.tasks.multilabel:MultilabelTask"),
)
