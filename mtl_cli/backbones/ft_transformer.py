"""A transformer over the columns of a table."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.backbones.base import Backbone, Spec, StageSpec
from mtl_cli.backbones.options import FtTransformer
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError


class FtTransformerBackbone(Backbone):
    """Each column a token, blocks of attention between them, and what the class token has gathered at the end.

    Stage i: block i; the first one makes the tokens, too. The neck: ReLU(LayerNorm(class token)).

    Shapes: inputs (B, D), the last of them codes -> stages (B, 1 + D, width), vector (B, width)
    Raises: ConfigError: the input is no row of a table or vector, or heads do not divide the width.
    Note:   the class token comes first, not last, which no layer can tell. As in the paper, the first block's
            attention has no normalisation before it, and the feed-forward layers are ReGLU.
    Source: Gorishniy, Rubachev, Khrulkov, Babenko, Revisiting deep learning models for tabular data, NeurIPS 2021,
            section 3.3 and appendix E.
    """

    def __init__(self, option: FtTransformer, given: InputSpec) -> None:
        if len(given.shape) != 1:
            raise ConfigError(
                f"backbone.name=ft_transformer takes rows of a table. Found inputs of shape {given.shape}: take another"
            )
        if option.width % option.heads:
            raise ConfigError(
                f"backbone.width={option.width} should be a multiple of backbone.heads={option.heads}: take "
                f"{option.width + option.heads - option.width % option.heads}"
            )
        stages: dict[str, nn.Module] = {}
        for i in range(option.blocks):
            first = [Tokens(given, option.width)] if i == 0 else []
            stages[f"block{i + 1}"] = nn.Sequential(*first, Block(option, normalised=i > 0))
        specs = tuple(StageSpec(name, "sequence", option.width, 1) for name in stages)
        super().__init__(stages, ClassToken(option.width), Spec(option.width, specs))


class Tokens(nn.Module):
    """A token for each column, and the class token before them.

        number j: b_j + x_j w_j;  category k: b_k + E_k[c_k]

    Shapes: inputs (B, D) -> (B, 1 + D, width)
    """

    def __init__(self, given: InputSpec, width: int) -> None:
        super().__init__()
        columns = given.shape[0]
        self._numbers = columns - len(given.categories)
        self.scales = nn.Parameter(_start(self._numbers, width))
        self.biases = nn.Parameter(_start(columns, width))
        self.cls = nn.Parameter(_start(1, width))
        self.embeddings = nn.ModuleList(_embedding(codes, width) for codes in given.categories)

    def forward(self, inputs: Tensor) -> Tensor:
        """Makes the tokens."""
        numbers = inputs[:, : self._numbers, None] * self.scales
        codes = inputs[:, self._numbers :].long()
        found = [table(codes[:, k])[:, None] for k, table in enumerate(self.embeddings)]
        columns = torch.cat([numbers, *found], dim=1) + self.biases
        return torch.cat([self.cls.expand(inputs.shape[0], 1, -1), columns], dim=1)


class Block(nn.Module):
    """x + attention(LN x), then x + W2 ReGLU(W1 LN x). Shapes: (B, L, width) -> the same."""

    def __init__(self, option: FtTransformer, normalised: bool) -> None:
        super().__init__()
        wide = int(4 * option.width / 3)
        self._heads = option.heads
        self.attention_dropout = nn.Dropout(option.attention_dropout)
        self.before = nn.LayerNorm(option.width) if normalised else nn.Identity()
        self.queries_keys_values = nn.Linear(option.width, 3 * option.width)
        self.out = nn.Linear(option.width, option.width)
        self.between = nn.LayerNorm(option.width)
        self.wide = nn.Linear(option.width, 2 * wide)
        self.dropout = nn.Dropout(option.dropout)
        self.narrow = nn.Linear(wide, option.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Both halves."""
        attended = tokens + self._attention(self.before(tokens))
        values, gates = self.wide(self.between(attended)).chunk(2, dim=-1)
        return cast(Tensor, attended + self.narrow(self.dropout(values * gates.relu())))

    def _attention(self, tokens: Tensor) -> Tensor:
        parts = self.queries_keys_values(tokens).unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        if self.training and self.attention_dropout.p > 0:
            weights = (parts[0] @ parts[1].transpose(-1, -2) / parts.shape[-1] ** 0.5).softmax(-1)
            mixed = self.attention_dropout(weights) @ parts[2]  # a layer, so that several processes share its draws out
        else:
            mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(2)))


class ClassToken(nn.Module):
    """ReLU(LayerNorm(first token)). Shapes: (B, L, width) -> (B, width)"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """What it has gathered."""
        return cast(Tensor, self.norm(tokens[:, 0]).relu())


def _start(rows: int, width: int) -> Tensor:
    """Uniform within +-width^-1/2."""
    return torch.empty(rows, width).uniform_(-(width**-0.5), width**-0.5)


def _embedding(codes: int, width: int) -> nn.Embedding:
    """As the numbers' start; the unknown code, which train may not have, begins with nothing but its bias."""
    table = nn.Embedding(codes, width)
    with torch.no_grad():
        table.weight.copy_(_start(codes, width))
        table.weight[0] = 0.0
    return table
