"""Backbones for tables: categories' codes become vectors, and a transformer reads every column as a token."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.backbones.base import Backbone
from mtl_cli.backbones.embedding import Embedded
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError
from tests.backbones.inputs import ROWS, inputs
from tests.options import build


def made(name: str, **changes: object) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = build(BACKBONES, name, ROWS, **changes)
    return backbone.eval()


def test_numbers_stay_and_each_code_becomes_its_vector_whose_width_follows_the_rule() -> None:
    embedded = Embedded(InputSpec((4,), (100, 2)))
    assert [tuple(e.weight.shape) for e in embedded.embeddings] == [(100, 21), (2, 2)]  # 1.6 * 100^.56, 1.6 * 2^.56
    assert embedded.width == 2 + 21 + 2
    row = embedded(torch.tensor([[0.5, -1.5, 7.0, 1.0]]))[0]
    expected = [torch.tensor([0.5, -1.5]), embedded.embeddings[0].weight[7], embedded.embeddings[1].weight[1]]
    assert torch.equal(row, torch.cat(expected))


def test_an_unknown_words_vector_is_zero_until_it_is_learned() -> None:
    for table in (Embedded(ROWS).embeddings[0], made("ft_transformer").stages["block1"][0].embeddings[0]):
        assert torch.equal(table.weight[0], torch.zeros(table.weight.shape[1]))
        assert bool((table.weight[1:] != 0).all())
        table(torch.tensor([0])).sum().backward()
        assert bool((table.weight.grad[0] != 0).all())


def test_an_mlp_on_a_table_is_the_mlp_on_its_embedded_rows() -> None:
    backbone = made("mlp", hidden=[5])
    embedded, linear, *_ = backbone.stages["layer1"]
    assert isinstance(embedded, Embedded)
    expected = (embedded(inputs(ROWS)) @ linear.weight.T + linear.bias).clamp_min(0)
    assert torch.allclose(backbone(inputs(ROWS)).vector, expected)


def twin(backbone: Backbone, rows: Tensor, heads: int) -> Tensor:
    """FT-Transformer written out, with torch's own attention over the same weights."""
    tokens = backbone.stages["block1"][0]
    columns = [x[:, None] * w + b for x, w, b in zip(rows.T[:4], tokens.scales, tokens.biases[:4], strict=True)]
    for k, table in enumerate(tokens.embeddings):
        columns.append(table.weight[rows[:, 4 + k].long()] + tokens.biases[4 + k])
    x = torch.stack([tokens.cls.expand(len(rows), -1), *columns], 1)
    for i, stage in enumerate(backbone.stages.values()):
        block = stage[-1]
        width = x.shape[-1]
        attention = nn.MultiheadAttention(width, heads, batch_first=True)
        with torch.no_grad():
            attention.in_proj_weight.copy_(block.queries_keys_values.weight)
            attention.in_proj_bias.copy_(block.queries_keys_values.bias)
            attention.out_proj.weight.copy_(block.out.weight)
            attention.out_proj.bias.copy_(block.out.bias)
        normed = x if i == 0 else functional.layer_norm(x, (width,), block.before.weight, block.before.bias)
        x = x + attention(normed, normed, normed)[0]
        a, b = block.wide(functional.layer_norm(x, (width,), block.between.weight, block.between.bias)).chunk(2, -1)
        x = x + block.narrow(a * b.relu())
    norm = backbone.neck.norm
    return functional.layer_norm(x[:, 0], (x.shape[-1],), norm.weight, norm.bias).relu()


def test_ft_transformer_is_its_paper_written_out() -> None:
    backbone = made("ft_transformer", width=12, heads=3, blocks=2)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.3 * torch.rand(parameter.shape))
    rows = inputs(ROWS, 5)
    torch.testing.assert_close(backbone(rows).vector, twin(backbone, rows, 3))


def test_every_column_reaches_the_vector_of_a_transformer_of_one_block() -> None:
    backbone, rows = made("ft_transformer", width=8, heads=2, blocks=1), inputs(ROWS, 1)
    before = backbone(rows).vector
    for column in range(6):
        other = rows.clone()
        other[0, column] = (other[0, column] + 1) % 3
        assert not torch.allclose(backbone(other).vector, before)


def test_what_is_no_row_and_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"ft_transformer takes rows of a table. Found inputs of shape \(3, 8, 8\)"):
        build(BACKBONES, "ft_transformer", InputSpec((3, 8, 8)))
    with pytest.raises(ConfigError, match=r"width=10 should be a multiple of backbone\.heads=4: take 12"):
        build(BACKBONES, "ft_transformer", ROWS, width=10, heads=4)
