"""One optimizer for the model and for a weighting's own parameters, each parameter in one group only."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from torch import nn
from torch.optim import Optimizer

from mtl_cli.contracts import Group
from mtl_cli.training.options import OptimizerOption


def build_optimizer(
    option: OptimizerOption, kind: Callable[..., Optimizer], model: nn.Module, own: Sequence[Group]
) -> Optimizer:
    """The optimizer over the model's parameters and the groups that have a learning rate of their own.

    Weight decay holds for parameters of two or more dimensions: biases and norms are free of it.
    """
    apart = {id(p) for group in own for p in group.parameters}
    free = [p for p in model.parameters() if p.requires_grad and id(p) not in apart]
    groups = [
        Group([p for p in free if p.dim() > 1], 1.0, decay=True),
        Group([p for p in free if p.dim() <= 1], 1.0, decay=False),
        *own,
    ]
    settings = msgspec.structs.asdict(option)
    lr, decay = settings.pop("lr"), settings.pop("weight_decay")
    tables: list[dict[str, Any]] = [
        {
            "params": group.parameters,
            "lr": lr * group.lr_factor,
            "initial_lr": lr * group.lr_factor,
            "weight_decay": decay if group.decay else 0.0,
        }
        for group in groups
        if group.parameters
    ]
    return kind(tables, lr=lr, **settings)


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Sets every group's learning rate to `factor` times its full one."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
