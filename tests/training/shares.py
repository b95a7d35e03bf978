"""Batches as one process has them, and what of them each of several has; models that see a whole batch."""

import torch

from mtl_cli.aggregation.base import Aggregation
from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.cnn import CnnBackbone
from mtl_cli.backbones.mlp import MlpBackbone
from mtl_cli.backbones.options import Cnn, Mlp
from mtl_cli.data.base import Batch, InputSpec, Part
from mtl_cli.model import MultiTaskModel
from mtl_cli.processes import Portion, Processes
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.options import Linear
from tests.training.toys import ROWS, SHARING, Toy, make, make_data, make_tasks

MAP = (1, 6, 6)
SIZES = {"digit": 9, "odd": 1, "size": 6}
"""A part that one of two processes has no row of, and one of uneven shares."""


def cut(batch: Batch, processes: Processes) -> Batch:
    """This process's share of it, as the loader gives it; alone, all of it."""
    return Batch([_share(part, processes.portion(len(part.inputs))) for part in batch.parts])


def by_norm(sharing: str, aggregation: Aggregation, synchronised: bool) -> tuple[Toy, list[Batch]]:
    """A network with batch norm on maps, and a batch for it."""
    data, generator = make_data(), torch.Generator().manual_seed(3)
    tasks = make_tasks(data)
    option = Cnn(channels=3, depth=2, norm="batch", freeze=None)
    torch.manual_seed(2)
    factory = BackboneFactory(CnnBackbone(option, InputSpec(MAP)))
    (part,) = data.batch(slice(0, ROWS)).parts
    images = torch.randn(ROWS, *MAP, generator=generator, dtype=torch.float64)
    model = _model(sharing, factory, dict.fromkeys(tasks, "p"))
    toy = make(
        data._replace(inputs=images), tasks=tasks, model=model, aggregation=aggregation, synchronised=synchronised
    )
    return toy, [Batch([part._replace(inputs=images)])]


def by_part(sharing: str, aggregation: Aggregation) -> tuple[Toy, list[Batch]]:
    """A data set for each task, of unequal sizes."""
    data = make_data(missing=False)
    tasks = make_tasks(data)
    parts = [
        Part(f"its {task}", data.inputs[:size], {task: data.targets[task][:size]}, {task: size})
        for task, size in SIZES.items()
    ]
    torch.manual_seed(2)
    factory = BackboneFactory(MlpBackbone(Mlp(hidden=[5, 5], dropout=0.3, freeze=None), InputSpec((6,))))
    model = _model(sharing, factory, {task: f"its {task}" for task in tasks})
    examples = {part.name: data.inputs[:2] for part in parts}
    return make(data, tasks=tasks, model=model, aggregation=aggregation, examples=examples), [Batch(parts)]


def _model(sharing: str, factory: BackboneFactory, part_of: dict[str, str]) -> MultiTaskModel:
    tasks, option = make_tasks(make_data()), SHARING[sharing]
    shared = SHARINGS.target(option)(option, factory, {name: task.width for name, task in tasks.items()})
    heads = {n: LinearHead(Linear(at=None), shared.spec(n), t.width, "head") for n, t in tasks.items()}
    return MultiTaskModel(shared, heads, part_of, per_part=True).double()


def _share(part: Part, portion: Portion) -> Part:
    rows = slice(portion.start, portion.start + portion.rows)
    targets = {task: target[rows] for task, target in part.targets.items()}
    return part._replace(inputs=part.inputs[rows], targets=targets, share=portion)
