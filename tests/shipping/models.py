"""Small models over the tables, with all that shipping needs of them."""

import torch

from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.commands.divide import table_preparation
from mtl_cli.data.base import InputSpec, Preparation
from mtl_cli.data.table.code import CategoryCode, DateCode, Encoding, NumberCode
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.shipping.needed import needed
from mtl_cli.shipping.shipped import Shipped
from mtl_cli.shipping.verify import Live
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.options import HEADS, KINDS
from tests.options import NAMES, build, make_task

SHAPE = (3, 8, 8)
PARTS = dict(zip(NAMES, ("train", "train", "eval", "eval"), strict=True))
"""Four tasks on two parts, all with the names of a module's own attributes."""
PREPARATIONS = {
    "train": Preparation(mean=(120.0, 90.0, 60.0), std=(60.0, 50.0, 40.0), crop=0, flip=False),
    "eval": Preparation(mean=(10.0, 20.0, 30.0), std=(20.0, 30.0, 10.0), crop=0, flip=False),
}
TARGETS = {
    "classification": (torch.tensor([0, 1, 2, 1]), ("low", "mid", "high")),
    "binary": (torch.tensor([0.0, 1.0, 1.0]), ("no", "yes")),
    "regression": (torch.tensor([900.0, 1000.0, 1100.0]), ()),
    "multilabel": (torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]), ("blue", "red", "round")),
}


TABLE = Encoding(
    (
        NumberCode("age", mean=40.0, std=12.5, indicator=True),
        NumberCode("Einkommen, netto (€)", mean=2000000123.4, std=1e3, indicator=False),
        NumberCode("\"]: \\ {quo'ted}", mean=0.0, std=1.0, indicator=False),
        NumberCode("huge", mean=2e306, std=1e307, indicator=False),
        NumberCode("keys.logits", mean=0.0, std=1.0, indicator=False),
    ),
    (DateCode("born on", 9000.5, 3000.0, clock=True, indicator=True), DateCode("since", 1e4, 10.0, False, False)),
    (
        CategoryCode("job", ("nurse", "naïve ☃", 'a"b, c'), True),
        CategoryCode("keys", ("\N{REPLACEMENT CHARACTER}", "x y"), missing=False),
        CategoryCode("never", (), missing=False),
    ),
)
"""Columns with names and words of every sort; one is named as an output, one as a task."""


def tasks_of(kinds: list[str]) -> dict[str, Task]:
    """A task of each of these kinds in turn."""
    chosen = [kinds[i % len(kinds)] for i in range(len(NAMES))]
    return {name: make_task(name, kind, *TARGETS[kind]) for name, kind in zip(NAMES, chosen, strict=True)}


def live(
    sharing: str,
    backbone: str = "cnn",
    kinds: list[str] | None = None,
    parts: dict[str, str] = PARTS,
    shape: tuple[int, ...] = SHAPE,
    table: Encoding | None = None,
    **shares: int,
) -> Live:
    """A model that has been in training: no two networks equal, each part with running statistics of its own.

    `shares` are options of the sharing.
    """
    torch.manual_seed(0)
    given = InputSpec(shape) if table is None else InputSpec((table.width,), table.cardinalities)
    small = {
        "cnn": {"channels": 4, "depth": 2, "norm": "batch"},
        "mlp": {"hidden": [7, 6]},
        "ft_transformer": {"width": 8, "blocks": 2, "heads": 2},
    }[backbone]
    factory = BackboneFactory(build(BACKBONES, backbone, given, **small))
    tasks = tasks_of(kinds or list(KINDS))
    shared = build(SHARINGS, sharing, factory, {n: t.width for n, t in tasks.items()}, **shares)
    heads = {name: build(HEADS, "linear", shared.spec(name), task.width, "head") for name, task in tasks.items()}
    model = MultiTaskModel(shared, heads, parts, per_part=True)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator))
    wide = {part: Preparation(p.mean[: shape[0]], p.std[: shape[0]], 0, False) for part, p in PREPARATIONS.items()}
    if table is not None:
        wide = dict.fromkeys(PREPARATIONS, table_preparation(table))
    return Live(model.eval(), tasks, wide)


def shipped_of(asked: Live, tasks: tuple[str, ...] = NAMES, shape: tuple[int, ...] = SHAPE) -> Shipped:
    """What `mtl export` makes of it."""
    return Shipped(needed(asked.model, tasks, shape), asked.tasks, asked.preparations, shape).eval()
