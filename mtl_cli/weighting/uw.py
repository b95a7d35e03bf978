"""Uncertainty weighting."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtl_cli.contracts import Group, LossFacts, slot
from mtl_cli.look import Look
from mtl_cli.weighting.base import Weighting
from mtl_cli.weighting.options import Uw


class UncertaintyWeighting(Weighting):
    """Weighs each loss by a learned observation noise.

    total = sum_t k_t exp(-s_t) L_t + s_t / 2, s_t = log sigma_t^2; k_t = 1/2 for a squared error, else 1

    Shapes: losses_T (T,) -> ()
    Note:   the log variances are stepped by the run's optimizer, without decay.
    Source: Kendall, Gal, Cipolla, Multi-task learning using uncertainty to weigh losses for scene geometry and
            semantics, CVPR 2018, eqs. 7 and 10.
    """

    def __init__(self, option: Uw, losses: Mapping[str, LossFacts]) -> None:
        super().__init__(losses)
        self._lr_factor = option.lr_factor
        self.log_variances = nn.ParameterDict({slot(t): nn.Parameter(torch.tensor(option.init)) for t in losses})

    def forward(self, losses_T: Tensor, look: Look) -> Tensor:
        """The negative log likelihood, but for constants."""
        s_T = torch.stack([self.log_variances[slot(task)] for task in look.tasks])
        factors = [0.5 if self.losses[task].gaussian else 1.0 for task in look.tasks]
        k_T = torch.tensor(factors, dtype=losses_T.dtype).to(losses_T.device, non_blocking=True)
        return (k_T * torch.exp(-s_T) * losses_T + 0.5 * s_T).sum()

    def groups(self) -> list[Group]:
        """The log variances."""
        return [Group(list(self.parameters()), self._lr_factor, decay=False)]
