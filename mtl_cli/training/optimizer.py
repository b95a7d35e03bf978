"""One optimizer for the model and for a weighting's own parameters, each parameter in one group only.

Fused kernels, which update all in one pass, read every tensor as memory has it, whatever its strides say: a gradient
that lies otherwise than its parameter would be added to other weights, without a word.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_cli.contracts import Group
from mtl_cli.training.options import OptimizerOption

FUSED = ("cpu", "cuda", "mps")
"""Kinds of device, of those that `device` knows, for which torch 2.10 and later have fused SGD, Adam and AdamW."""


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
    fused = all(parameter.device.type in FUSED for group in tables for parameter in group["params"])
    optimizer = kind(tables, lr=lr, fused=fused, **settings)
    optimizer.register_step_pre_hook(lambda its, _arguments, _named: _prepare(its))
    optimizer.register_load_state_dict_pre_hook(lambda _, state: _with_fused(state, fused))
    optimizer.register_load_state_dict_post_hook(lay_alike)
    return optimizer


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Sets every group's learning rate to `factor` times its full one."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def lay_alike(optimizer: Optimizer) -> None:
    """Lets gradients and state lie in memory as their parameters do."""
    _lay_gradients(optimizer)
    for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.dim() > 1):
        state = optimizer.state.get(parameter, {})
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = _laid_as(parameter, value)


def _prepare(optimizer: Optimizer) -> None:
    """Before a step: one layout, and a momentum also for a parameter that has its first gradient later than others.

    A missing one is taken for the sign of a first step of all parameters.
    """
    _lay_gradients(optimizer)
    for group in optimizer.param_groups:
        if group.get("momentum"):
            for parameter in group["params"]:
                if parameter.grad is not None and "momentum_buffer" not in optimizer.state[parameter]:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _lay_gradients(optimizer: Optimizer) -> None:
    for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.dim() > 1):
        if parameter.grad is not None:
            parameter.grad = _laid_as(parameter, parameter.grad)


def _laid_as(parameter: Tensor, value: Tensor) -> Tensor:
    return value if value.stride() == parameter.stride() else torch.empty_like(parameter).copy_(value)


def _with_fused(state: dict[str, Any], fused: bool) -> dict[str, Any]:
    """A saved state for this run's kernels, whichever it was saved with."""
    return {**state, "param_groups": [{**group, "fused": fused} for group in state["param_groups"]]}
