"""Gates that select k of E experts and are differentiable."""

import math

import torch
from torch import Tensor, nn

TINY = 1e-6
"""Keeps logarithms and quotients finite where a selector has decided."""


def smooth_step(values: Tensor, gamma: float) -> Tensor:
    """0 below -gamma/2, 1 above gamma/2, and -2/gamma^3 t^3 + 3/(2 gamma) t + 1/2 between. Shapes: as they are

    Source: Hazimeh et al., DSelect-k, NeurIPS 2021, equation 4.
    """
    t = values.clamp(-gamma / 2, gamma / 2)
    return -2 / gamma**3 * t**3 + 3 / (2 * gamma) * t + 0.5


class Selection(nn.Module):
    """One task's weights of E experts: a convex combination of k selectors, each of one expert in the limit.

        q(a, z) = sum_i softmax(a)_i r(z_i),  r(z_i)_e = prod_j S(z_ij)^(b_ej) (1 - S(z_ij))^(1 - b_ej)

    S: the smooth step. b_e: the bits of e, m = ceil(log2 E) of them. a (k), z (k, m): learned; or, where weights depend
    on the sample, a linear in what is read, z too.

    Shapes: (B, D) -> weights (1 or B, E), selectors (1 or B, k, 2^m)
    Source: Hazimeh, Zhao, Chowdhery et al., DSelect-k: differentiable selection in the mixture of experts with
            applications to multi-task learning, NeurIPS 2021, equations 4 to 6.
    """

    codes: Tensor

    def __init__(self, experts: int, k: int, gamma: float, read: int | None) -> None:
        super().__init__()
        self._experts, self._gamma, self._k = experts, gamma, k
        self._bits = math.ceil(math.log2(experts))
        spread = gamma / 100
        if read is None:
            self.z = nn.Parameter(torch.empty(k, self._bits).uniform_(-spread, spread))
            self.a = nn.Parameter(torch.empty(k).uniform_(-spread, spread))
        else:
            self.z_of = nn.Linear(read, k * self._bits, bias=False)
            self.a_of = nn.Linear(read, k, bias=False)
            nn.init.uniform_(self.z_of.weight, -spread, spread)
            nn.init.uniform_(self.a_of.weight, -spread, spread)
        self._by_sample = read is not None
        numbers = torch.arange(2**self._bits)[:, None]
        self.register_buffer("codes", (numbers >> torch.arange(self._bits)) % 2 == 1, persistent=False)

    def forward(self, read: Tensor) -> tuple[Tensor, Tensor]:
        """The experts' weights, and the selectors, codes without an expert among them."""
        if self._by_sample:
            z, a = self.z_of(read).unflatten(1, (self._k, self._bits)), self.a_of(read)
        else:
            z, a = self.z[None], self.a[None]
        step = smooth_step(z, self._gamma)[:, :, None]
        selectors = torch.where(self.codes, step, 1 - step).prod(3)
        weights = (a.softmax(1)[:, :, None] * selectors).sum(1)
        return weights[:, : self._experts], selectors

    def penalty(self, selectors: Tensor) -> Tensor:
        """How undecided selectors are, and how far from any expert, the mean over samples.

            sum_i h(r_i),  and where E is no power of two + sum_i 1 / sum_(e <= E) r_ie

        h: the entropy. Shapes: (B, k, 2^m) -> ()
        """
        undecided = -(selectors * (selectors + TINY).log()).sum((1, 2))
        if self._experts < selectors.shape[2]:
            undecided = undecided + (1 / selectors[:, :, : self._experts].sum(2).clamp_min(TINY)).sum(1)
        mean: Tensor = undecided.mean()
        return mean
