"""Some samples of a part with their labels, as `mtl data` draws them."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from torch import Tensor

from mtl_cli.commands.counted import counts
from mtl_cli.commands.examine import Examined
from mtl_cli.commands.scenes import FEWER, NAMED, SHOWN, pixels
from mtl_cli.config import Config
from mtl_cli.data.base import MISSING, Column, Frame, Stream, labelled
from mtl_cli.data.split import limit
from mtl_cli.reporting.plots.scene import Grid, Line, Rows, Sample, TargetShape

ROWS = 12
COLUMNS = 10
MARK = "–"
"""What stands for no label and an empty cell."""


def shown(config: Config, examined: Examined) -> Grid | Rows:
    """Samples of train, drawn by the data's seed."""
    data = examined.pieces["train"].data
    few = len(examined.classes) > NAMED
    is_image = isinstance(data.inputs, Stream) or (isinstance(data.inputs, Tensor) and data.inputs.ndim == 4)
    most = (FEWER if few else SHOWN) if is_image else ROWS
    index = limit(len(data.inputs), most, config.data.seed, examined.part, "shown")
    labels = {task: _labels(data.targets[task][index], names) for task, names in examined.classes.items()}
    inputs = data.inputs
    if isinstance(inputs, Frame) or not is_image:
        return _rows(examined, inputs if isinstance(inputs, Frame) else _frame(inputs), index, labels)
    images = inputs.read(index) if isinstance(inputs, Stream) else inputs[index]
    legend = "beneath: " + ", ".join(labels) if few else "drawn at random, as they are read"
    lines = [
        tuple(Line(said[k] if few else f"{task}: {said[k]}", i) for i, (task, said) in enumerate(labels.items()))
        for k in range(len(index))
    ]
    return Grid(
        examined.part, tuple(Sample(pixels(image), its) for image, its in zip(images, lines, strict=True)), legend
    )


def _labels(target: Tensor, classes: tuple[str, ...]) -> list[str]:
    return [_label(value, classes) if there else MARK for value, there in zip(target, labelled(target), strict=True)]


def _label(value: Tensor, classes: tuple[str, ...]) -> str:
    if value.ndim == 1:
        return ", ".join(name for name, tag in zip(classes, value.tolist(), strict=True) if tag > 0) or "none"
    return classes[int(value)] if classes else f"{float(value):.4g}"


def _frame(inputs: Tensor | Stream) -> Frame:
    """Vectors as a table whose columns are numbered."""
    assert isinstance(inputs, Tensor)
    return Frame({str(i + 1): column.double() for i, column in enumerate(inputs.unbind(1))}, {}, {}, len(inputs))


def _rows(examined: Examined, frame: Frame, index: Tensor, labels: dict[str, list[str]]) -> Rows:
    its = frame[index]
    kinds = (
        {name: _numbers(values) for name, values in its.numbers.items()},
        {name: _dates(days) for name, days in its.dates.items()},
        {name: _words(column) for name, column in its.categories.items()},
    )
    in_turn = [pair for pairs in zip_longest(*(kind.items() for kind in kinds)) for pair in pairs if pair]
    cells = dict(in_turn)  # some of each kind, where not all have room
    tasks = list(labels)[: COLUMNS - 2]
    columns = list(cells)[: COLUMNS - len(tasks)]
    heading = [*((task, i) for i, task in enumerate(tasks)), *((name, None) for name in columns)]
    across = [*(labels[task] for task in tasks), *(cells[name] for name in columns)]
    legend = f"{len(columns):,} of {len(cells):,} input columns" if len(columns) < len(cells) else "all input columns"
    targets = examined.pieces["train"].data.targets
    shapes = tuple(_shape(task, targets[task], names) for task, names in examined.classes.items())
    return Rows(examined.part, tuple(heading), tuple(zip(*across, strict=True)), shapes, legend)


def _shape(task: str, target: Tensor, classes: tuple[str, ...]) -> TargetShape:
    values: Sequence[float] = counts(target, classes) if classes else target[labelled(target)].tolist()
    return TargetShape(task, classes, np.asarray(values, dtype=np.float64))


def _numbers(values: Tensor) -> list[str]:
    return [MARK if x != x else f"{x:.6g}" for x in values.tolist()]  # noqa: PLR0124  # NaN


def _dates(days: Tensor) -> list[str]:
    return [MARK if x != x else str(np.datetime64(int(x), "D")) for x in days.tolist()]  # noqa: PLR0124  # NaN


def _words(column: Column) -> list[str]:
    names = column.classes or ()
    return [MARK if code == MISSING else names[code] for code in column.values.tolist()]
