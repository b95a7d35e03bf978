"""What decides an update: a weighting, an aggregation, regularizers."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_cli.aggregation.base import Aggregation, WeightedAggregation
from mtl_cli.contracts import Needs
from mtl_cli.look import Look
from mtl_cli.regularizers.base import Regularizer
from mtl_cli.training.spans import within
from mtl_cli.weighting.base import Weighting


class Wants(NamedTuple):
    """Which per-task gradients the methods want to see in a step.

    shared: over all shared parameters. trunk, last_stage: there. pull_back: a way back from the trunk.
    rows: those gradients themselves, not only inner products and weighted sums of them.
    pieces: into how many independent parts each batch is split.
    combined: the part of which nothing but a weighted sum of gradients is wanted; None: there is none.
    """

    shared: bool
    trunk: bool
    pull_back: bool
    last_stage: bool
    rows: bool
    pieces: int
    combined: int | None = None

    @property
    def any(self) -> bool:
        """Whether any."""
        return self.shared or self.trunk or self.last_stage


class Methods(NamedTuple):
    """The methods of a run."""

    weighting: Weighting
    aggregation: Aggregation
    regularizers: Mapping[str, Regularizer]

    @property
    def needs(self) -> tuple[Needs, Needs]:
        """Of the weighting and of the aggregation, at most."""
        return self.weighting.needs, self.aggregation.needs

    def wants(self, look: Look, balanced: bool) -> Wants:
        """In this step; `balanced`: whether there is something shared for the aggregation to balance."""
        now = [self.weighting.needs, *([self.aggregation.needs_now(look)] if balanced else [])]
        asked = [needs for needs in now if needs.level != "losses"]
        at = {needs.at for needs in asked}
        rows = [needs.at for needs in asked if needs.level == "rows"]
        pieces = max((needs.batches for needs in asked), default=1)
        combined = self._combined() if pieces > 1 and not rows and at == {"shared"} and len(asked) == 1 else None
        return Wants("shared" in at, "trunk" in at, "trunk" in rows, "last_stage" in at, bool(rows), pieces, combined)

    def _combined(self) -> int | None:
        """The independent part whose gradients the aggregation adds up, and does not look at."""
        return self.aggregation.combines if isinstance(self.aggregation, WeightedAggregation) else None

    @within("balancing")
    def coefficients(self, look: Look) -> Tensor:
        """c = d total / d losses, times each task's weight; the weighting's own parameters get their gradients.

        Where no coefficient reads losses, all is computed on the host.
        """
        ones_T = torch.ones_like(look.losses_T, device="cpu")
        c_T = ones_T if self.weighting.sums else self._differentiated(ones_T, look)
        weights = [self.weighting.losses[task].weight for task in look.tasks]
        if all(weight == 1 for weight in weights):
            return c_T
        return c_T * torch.tensor(weights, dtype=c_T.dtype).to(c_T.device, non_blocking=True)

    def _differentiated(self, ones_T: Tensor, look: Look) -> Tensor:
        leaf_T = (ones_T if self.weighting.on_host else look.losses_T.detach()).requires_grad_()
        own = self.weighting.own
        total = self.weighting(leaf_T, look)
        c_T, *found = torch.autograd.grad(total, [leaf_T, *own], allow_unused=True)
        for parameter, gradient in zip(own, found, strict=True):
            parameter.grad = gradient
        return c_T

    @within("balancing")
    def plain_weights(self, look: Look) -> Tensor | None:
        """The aggregation's weights where it asks for no gradients; None: it is the plain sum. Shapes: (T,)"""
        assert isinstance(self.aggregation, WeightedAggregation)
        weights_T = self.aggregation.weights(look)
        plain = self.aggregation.needs.level == "losses" and all(weight == 1 for weight in weights_T.tolist())
        return None if plain else weights_T
