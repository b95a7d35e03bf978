"""What is shipped: one batch of plain images, vectors or a table's columns in, each task's answers out."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtl_cli.contracts import slot
from mtl_cli.data.base import Frame, Preparation
from mtl_cli.data.pictures import WHITE
from mtl_cli.data.table.code import Encoding
from mtl_cli.model import MultiTaskModel
from mtl_cli.options import JobError
from mtl_cli.shipping.columns import Columns, given_columns, input_names, made_up
from mtl_cli.tasks.base import Task

Inputs = Tensor | dict[str, Tensor]
"""What a shipped model takes: images, vectors, or columns by the names of its inputs."""


class Normalise(nn.Module):
    """(scale x - mean) / std by channel or by column; scale is 255 for images, 1 for vectors.

    Shapes: (B, C, H, W) in [0, 1], or (B, D) in raw units -> the same shape
    """

    def __init__(self, preparation: Preparation, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._scale = WHITE if len(shape) == 3 else 1.0
        view = (-1, *(1 for _ in shape[1:]))
        self.mean = nn.Buffer(torch.tensor(preparation.mean, dtype=torch.float32).view(view))
        self.std = nn.Buffer(torch.tensor(preparation.std, dtype=torch.float32).view(view))

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's own inputs."""
        return (inputs * self._scale - self.mean) / self.std


class Shipped(nn.Module):
    """Normalisation, the model and each task's readout in one graph; an input goes through each part's normalisation.

    Args:
        model: what the tasks need of it, and no more.
        tasks: of which those of the model are answered.
        preparations: by part.
        shape: of one sample.
    Shapes: inputs (B, C, H, W) in [0, 1], or (B, D), or as `Columns` takes them -> {"<task>.logits": (B, width),
        "<task>.probabilities": (B, C)}, or {"<task>.value": (B,)} in the target's own unit
    Raises: JobError: some parts are tables and others are not.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task],
        preparations: Mapping[str, Preparation],
        shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.model = model
        self.tasks = {name: tasks[name] for name in model.part_of}
        self.shape = shape
        parts = dict.fromkeys(model.part_of.values())
        self.normalise = nn.ModuleDict({slot(part): Normalise(preparations[part], shape) for part in parts})
        self._of = {part: [name for name, its in model.part_of.items() if its == part] for part in parts}
        self.table = _table({part: preparations[part] for part in parts})
        self.inputs = input_names(self.table, list(self.tasks)) if self.table else {}
        self.encode: nn.Module = Columns(self.table, self.inputs) if self.table else nn.Identity()

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Answers, in the order of the tasks."""
        return self.answers(self.encode(inputs))

    def answers(self, encoded: Tensor) -> dict[str, Tensor]:
        """The same of a table's rows that are encoded already; of images and vectors as they are."""
        outputs: dict[str, Tensor] = {}
        for part, names in self._of.items():
            outputs |= self.model(self.normalise[slot(part)](encoded), names, part)
        return {
            f"{name}.{what}": tensor
            for name, task in self.tasks.items()
            for what, tensor in task.readout(outputs[name]).items()
        }

    def parameter_count(self) -> int:
        """How many numbers were learned."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def example(self, rows: int) -> Tensor | Frame:
        """Raw inputs, the same each time: bytes, numbers, or rows of a table. Shapes: -> (rows, ...)"""
        generator = torch.Generator().manual_seed(rows)
        if self.table is not None:
            return made_up(self.table, rows, generator)
        if len(self.shape) == 3:
            return torch.randint(0, 256, (rows, *self.shape), generator=generator, dtype=torch.uint8)
        return torch.randn(rows, *self.shape, generator=generator)

    def given(self, raw: Tensor | Frame) -> Inputs:
        """Raw inputs as the model takes them."""
        if isinstance(raw, Tensor):
            return unit_images(raw)
        assert self.table is not None
        return given_columns(raw, self.table, self.inputs)


def unit_images(raw: Tensor) -> Tensor:
    """Bytes as a shipped model takes them; vectors stay. Shapes: (B, ...) -> the same, float32"""
    return raw.float() / WHITE if raw.dtype == torch.uint8 else raw


def _table(preparations: Mapping[str, Preparation]) -> Encoding | None:
    """The encoding that all parts have, or None where they are no tables."""
    first, *others = preparations
    for part in others:
        if preparations[part].table != preparations[first].table:
            raise JobError(f"{first} is a table and {part} is not, or the other way: export their tasks one by one")
    return preparations[first].table
