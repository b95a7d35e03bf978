"""A network for each task, held close to the others."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, BackboneFactory, Features
from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError, nearest
from mtl_cli.sharing.distances import DISTANCES
from mtl_cli.sharing.network_a_task import NetworkATask
from mtl_cli.sharing.options import Soft


class SoftSharing(NetworkATask):
    """No parameter is shared; those that correspond are drawn to each other, of the active tasks' networks to all.

        penalty = sum over stages s, parameters w of it:  lambda_s d(w_1 .. w_T)

    l2: d = 1/2 sum_(i<j) |w_i - w_j|^2, so that d's gradient on w_i is T (w_i - mean). l1: sum_(i<j) |w_i - w_j|_1.
    group: sum_(i<j) sum over output units of the norm of their difference. trace_norm: of the (T, n) matrix of all w_i.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: a lambda for a stage that the backbone does not have.
    Note:   an inactive task's network draws and is not drawn: a step's tasks may be fewer than all, down to one where
            parts take turns. Over P micro-batches each counts 1/P, so a task that only one of them has is drawn P times
            more weakly. Parameters only, no running statistics. The neck's belong to the last stage. Duong et al. tie
            some of the layers of two parsers, Yang and Hospedales flatten a tensor with the tasks last, as here.
    Source: l2: Duong, Cohn, Bird, Cook, Low resource dependency parsing: cross-lingual parameter sharing in a neural
            network parser, ACL 2015, section 4, equation 1. trace_norm: Yang, Hospedales, Trace norm regularised deep
            multi-task learning, ICLR workshop 2017, section 2. l1 and group are theirs with another norm.
    """

    def __init__(self, option: Soft, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__(factory, tasks)
        names = [stage.name for stage in factory.spec.stages]
        for stage in option.stages:
            if stage not in names:
                raise ConfigError(f"sharing.stages.{stage} is no stage of the backbone: {nearest(stage, names)}")
        self._distance = DISTANCES[option.distance]
        self._strengths = {name: option.stages.get(name, option.strength) for name in names}

    def penalty(self, features: Mapping[str, Features], heads: Mapping[str, nn.Module]) -> Tensor | None:
        """The distance of all networks, which draws those of these tasks; none where every lambda is zero."""
        if len(self.networks) < 2:
            return None
        drawn = {slot(task) for task in features}
        terms = [
            strength * self._distance(_rows(corresponding))
            for stage, strength in self._strengths.items()
            if strength > 0
            for corresponding in zip(*(self._trained(key, stage, key in drawn) for key in self.networks), strict=True)
        ]
        return torch.stack(terms).sum() if terms else None

    def _trained(self, key: str, stage: str, drawn: bool) -> list[Tensor]:
        """Those of a stage that train; the neck's too, where it is the last. Constants, of a network not drawn."""
        network = cast(Backbone, self.networks[key])
        modules = [network.stages[stage], *([network.neck] if stage == network.spec.stages[-1].name else [])]
        found = [p for module in modules for p in module.parameters() if p.requires_grad]
        return [p if drawn else p.detach() for p in found]


def _rows(corresponding: Sequence[Tensor]) -> Tensor:
    """Of all tasks, outputs apart, as distances by unit want. Shapes: T of (N, ...) -> (T, N, n), or (T, n)"""
    stacked = torch.stack(list(corresponding))
    return stacked.flatten(2) if stacked.dim() > 2 else stacked.view(len(stacked), -1)
