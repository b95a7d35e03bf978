"""What a model says of items, a row each."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TextIO, final

from torch import Tensor

from mtl_cli.reporting.metric_log import finite
from mtl_cli.tasks.base import Task

Row = dict[str, Any]
"""path or row, <task>, and of a task with classes <task>.probability and <task>.probabilities by class.

Of tags, <task> is those that are likelier than not, and <task>.probability that of just these, each tag by itself.
"""
HALF = 0.5


def rows(first: str, names: Sequence[Any], answers: Mapping[str, Tensor], tasks: Mapping[str, Task]) -> list[Row]:
    """A row for each item, in their order; `first` is the column of their names. Shapes: answers {name: (B, ...)}"""
    columns: dict[str, list[Any]] = {first: list(names)}
    for name, task in tasks.items():
        classes = task.fitted.classes
        if not classes:
            columns[name] = [_short(value) for value in answers[f"{name}.value"].tolist()]
            continue
        by_row = answers[f"{name}.probabilities"].tolist()
        said = [_tags(task, found) if task.several else _class(task, found) for found in by_row]
        columns[name] = [word for word, _ in said]
        columns[f"{name}.probability"] = [_short(probability) for _, probability in said]
        columns[f"{name}.probabilities"] = [
            {c: _short(p) for c, p in zip(classes, found, strict=True)} for found in by_row
        ]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _class(task: Task, probabilities: Sequence[float]) -> tuple[str, float]:
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    return task.fitted.classes[best], probabilities[best]


def _tags(task: Task, probabilities: Sequence[float]) -> tuple[str, float]:
    tags = [tag for tag, p in zip(task.fitted.classes, probabilities, strict=True) if p > HALF]
    return task.cell(tags), math.prod(max(p, 1 - p) for p in probabilities)


@final
class Writer:
    """Writes rows as they come: csv with a heading, without the probabilities of all classes; or JSON lines.

    The heading is written with the first rows, which may be none, so that nothing is where nothing could be read.
    """

    def __init__(self, stream: TextIO, kind: str, first: str, tasks: Mapping[str, Task]) -> None:
        self._stream = stream
        names = [first]
        for name, task in tasks.items():
            names += [name, f"{name}.probability"] if task.fitted.classes else [name]
        self._csv = None
        if kind == "csv":
            self._csv = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
        self._begun = False

    def write(self, found: Sequence[Row]) -> None:
        """Writes these rows at once."""
        if self._csv is not None:
            if not self._begun:
                self._csv.writeheader()
                self._begun = True
            self._csv.writerows(found)
        else:
            self._stream.writelines(json.dumps(finite(row), allow_nan=False) + "\n" for row in found)
        self._stream.flush()


def _short(number: float) -> float:
    """The digits that float32 holds."""
    return float(f"{number:.7g}")
