"""Any number of tags."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_cli.data.base import Column, labelled
from mtl_cli.data.tags import apart, spread
from mtl_cli.options import ConfigError, text
from mtl_cli.tasks.base import Fitted, Measure, Task
from mtl_cli.tasks.options import Multilabel, TaskOption
from mtl_cli.tasks.weights import tag_weights


class MultilabelTask(Task):
    """Tags, each there or not; outputs are logits.

    Shapes: output (B, C), target (B, C) float, zeros and ones, NaN in a row without a label
    """

    several = True

    @staticmethod
    def encode(name: str, option: TaskOption, column: Column) -> tuple[Tensor, tuple[str, ...]]:
        """A column of cells with tags in them, as whole words; the classes are the tags, sorted."""
        assert isinstance(option, Multilabel)
        key = f"tasks.{name}.target"
        if column.classes is None:
            raise ConfigError(f"{key} should be text, tags with {text(option.separator)} between them. Found numbers")
        cells = [_tags(name, option, cell) for cell in column.classes]
        target, classes = spread(key, column, cells, 0.0 if option.none == "" else torch.nan)
        if len(classes) == 1:
            raise ConfigError(f"{key} should have two tags or more. Found only {classes[0]}")
        return target, classes

    @staticmethod
    def fit(name: str, option: TaskOption, target: Tensor, classes: tuple[str, ...]) -> Fitted:
        """What is best to say of every item, by metric.

        accuracy: each tag by its majority. f1_macro: all tags. map: whatever it is, a tag's share is what it gets.
        f1_micro: the k most frequent tags, k where 2 sum_{c <= k} N_c / (k N + sum_c N_c) is largest.
        """
        labels = target[labelled(target)]
        if target.numel() == 0 or len(labels) == 0:
            raise ConfigError(f"tasks.{name} has no label in train: check its target, or leave it out (~tasks.{name})")
        counts_C = labels.double().sum(0)
        order = counts_C.argsort(descending=True, stable=True)
        ranks = torch.arange(1, len(order) + 1)
        scores = 2 * counts_C[order].cumsum(0) / (ranks * len(labels) + counts_C.sum())
        frequent = torch.isin(torch.arange(len(order)), order[: int(scores.argmax()) + 1])
        said = {"accuracy": counts_C > len(labels) / 2, "f1_micro": frequent}
        constants = {
            metric: tuple(torch.where(said.get(metric, counts_C >= 0), 1.0, -1.0).tolist()) for metric in option.metrics
        }
        return Fitted(classes, 0.0, 1.0, tag_weights(name, option.loss, counts_C, len(labels)), constants)

    @property
    def width(self) -> int:
        """One logit a tag."""
        return len(self.fitted.classes)

    def prediction(self, output: Tensor) -> Tensor:
        """Each tag's probability, float64 on the CPU: in float32 all logits above 17 would be one rank."""
        return output.cpu().double().sigmoid()

    def readout(self, output: Tensor) -> dict[str, Tensor]:
        """A logit and a probability for each tag."""
        return {"logits": output, "probabilities": output.sigmoid()}

    def cell(self, tags: Sequence[str]) -> str:
        """As a column has them."""
        assert isinstance(self.option, Multilabel)
        return self.option.separator.join(tags) or self.option.none or ""

    def defined(self, name: str, target: Tensor) -> bool:
        """Average precision needs a tag that some item has."""
        return name != "map" or bool((target == 1).any())

    def metric(self, name: str) -> Measure:
        """F1 and accuracy at one half, average precision exactly."""
        from mtl_cli.tasks.metrics import MULTILABEL, alone  # not at the top: torchmetrics takes a second

        return alone(MULTILABEL[name](self.width))


def _tags(name: str, option: Multilabel, cell: str) -> list[str]:
    """The tags of a cell. Raises: ConfigError: it names none, and nothing says that this means no tag."""
    tags = apart(cell, option.separator)
    if option.none is not None and cell.strip() == option.none.strip():
        return []
    key = f"tasks.{name}.none"
    if not tags and option.none != "":
        raise ConfigError(
            f"tasks.{name}.target has the cell {text(cell)!r}, which names no tag: empty it where there is no label, "
            f"or say which text means no tag at all ({key}=TEXT)"
        )
    if option.none in tags:
        raise ConfigError(
            f"{key}={option.none} stands beside other tags in {text(cell)!r}: it means that there is none"
        )
    return tags
