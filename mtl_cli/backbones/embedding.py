"""A table's categories, embedded."""

import math

import torch
from torch import Tensor, nn

from mtl_cli.data.base import InputSpec

WIDEST = 50


class Embedded(nn.Module):
    """A row's numbers as they are, then a learned vector for each category's code.

        y = [numbers, E_1[c_1], ..., E_K[c_K]],  width of E_k: min(50, round(1.6 codes_k^0.56)), at least 1

    The vector of code 0, the unknown, starts at zero, which is the others' mean.

    Shapes: inputs (B, D), the last K of them codes -> (B, width)
    Source: C. Guo, F. Berkhahn, Entity embeddings of categorical variables, arXiv 1604.06737, 2016; the width is a rule
        of thumb of J. Howard and S. Gugger, fastai: a layered API for deep learning, Information 11, 2020.
    """

    def __init__(self, given: InputSpec) -> None:
        super().__init__()
        self._numbers = given.shape[0] - len(given.categories)
        self.embeddings = nn.ModuleList(embedding(codes, _width(codes)) for codes in given.categories)
        self.width = self._numbers + sum(_width(codes) for codes in given.categories)

    def forward(self, inputs: Tensor) -> Tensor:
        """Looks up."""
        codes = inputs[:, self._numbers :].long()
        found = [table(codes[:, k]) for k, table in enumerate(self.embeddings)]
        return torch.cat([inputs[:, : self._numbers], *found], dim=1)


def embedding(codes: int, width: int) -> nn.Embedding:
    """A table of vectors, small at the start; that of the unknown code is zero."""
    table = nn.Embedding(codes, width)
    nn.init.normal_(table.weight, std=width**-0.5)
    with torch.no_grad():
        table.weight[0] = 0.0
    return table


def _width(codes: int) -> int:
    return max(1, min(WIDEST, round(1.6 * math.pow(codes, 0.56))))
