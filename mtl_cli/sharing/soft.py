"""A network for each task, held close to the others."""

from collections.abc import Mapping
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
    """No parameter is shared; those of the active tasks' networks that correspond are drawn to each other.

        penalty = sum over stages s, parameters w of it:  lambda_s d(w_1 .. w_T)

    l2: d = 1/2 sum_(i<j) |w_i - w_j|^2, so that d's gradient on w_i is T (w_i - mean). l1: sum_(i<j) |w_i - w_j|_1.
    group: sum_(i<j) sum over output units of the norm of their difference. trace_norm: of the (T, n) matrix of all w_i.

    Shapes: inputs (B, ...) -> Features of (B, ...)
    Raises: ConfigError: a lambda for a stage that the backbone does not have.
    Note:   parameters only, no running statistics. The neck's belong to the last stage. Duong et al. tie some of the
            layers of two parsers, Yang and Hospedales flatten a tensor with the tasks last, as here.
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
        """The distance of the active tasks' networks; none where there is one, or every lambda is zero."""
        networks = [cast(Backbone, self.networks[slot(task)]) for task in features]
        if len(networks) < 2:
            return None
        terms = [
            strength * self._distance(torch.stack(corresponding).flatten(2 if corresponding[0].dim() > 1 else 1))
            for stage, strength in self._strengths.items()
            if strength > 0
            for corresponding in zip(*(_parameters(network, stage) for network in networks), strict=True)
        ]
        return torch.stack(terms).sum() if terms else None


def _parameters(network: Backbone, stage: str) -> list[nn.Parameter]:
    """Those of a stage that train; the neck's too, where it is the last."""
    modules = [network.stages[stage], *([network.neck] if stage == network.spec.stages[-1].name else [])]
    return [p for module in modules for p in module.parameters() if p.requires_grad]
