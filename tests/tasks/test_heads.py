"""Heads: where they read, what they compute, and the line where there is nothing to read."""

import pytest
import torch

from mtl_cli.backbones.base import Features, Kind, Spec, StageSpec
from mtl_cli.options import ConfigError
from mtl_cli.tasks.heads import joined
from mtl_cli.tasks.options import HEADS
from tests.options import build

SPEC = Spec(
    5,
    (StageSpec("early", "map", 3, 2), StageSpec("words", "sequence", 4, 1), StageSpec("late", "vector", 6, 1)),
)
B = 7


def features() -> Features:
    generator = torch.Generator().manual_seed(0)
    stages = {
        "early": torch.randn(B, 3, 8, 6, generator=generator),
        "words": torch.randn(B, 9, 4, generator=generator),
        "late": torch.randn(B, 6, generator=generator),
    }
    return Features(torch.randn(B, 5, generator=generator), stages, None, {})


@pytest.mark.parametrize("name", list(HEADS))
@pytest.mark.parametrize("at", [None, "early", "words", "late"])
def test_every_head_reads_where_it_is_told_and_nowhere_else(name: str, at: str | None) -> None:
    head = build(HEADS, name, SPEC, 2, "tasks.t.head", at=at).eval()
    here = features()
    output = head(here)
    assert output.shape == (B, 2)
    tensors = {None: here.vector, **here.stages}
    for place, tensor in tensors.items():
        before = tensor.clone()
        tensor.add_(1)
        assert torch.equal(head(here), output) == (place != at)
        tensor.copy_(before)


@pytest.mark.parametrize(("at", "kind"), [("early", "map"), ("words", "sequence"), ("late", "vector"), (None, None)])
def test_a_linear_head_is_a_linear_map_of_the_mean_over_space(at: str | None, kind: Kind | None) -> None:
    head = build(HEADS, "linear", SPEC, 2, "tasks.t.head", at=at)
    here = features()
    means = {
        "map": here.stages["early"].flatten(2).mean(2),
        "sequence": here.stages["words"].sum(1) / 9,
        "vector": here.stages["late"],
        None: here.vector,
    }
    weight, bias = head.state_dict().values()
    torch.testing.assert_close(head(here), means[kind] @ weight.T + bias)


def test_an_mlp_head_has_its_hidden_layers_with_relu_and_dropout_between() -> None:
    torch.manual_seed(0)  # with some draws no hidden unit is alive
    head = build(HEADS, "mlp", SPEC, 2, "tasks.t.head", hidden=[4, 3], dropout=0.5)
    weights = list(head.state_dict().values())
    assert [tuple(w.shape) for w in weights] == [(4, 5), (4,), (3, 4), (3,), (2, 3), (2,)]
    here = features()
    expected = here.vector
    for i in (0, 2, 4):
        expected = expected @ weights[i].T + weights[i + 1]
        expected = expected.clamp_min(0) if i < 4 else expected
    torch.testing.assert_close(head.eval()(here), expected)
    head.train()
    assert not torch.equal(head(here), head(here))


@pytest.mark.parametrize("name", list(HEADS))
def test_a_stage_that_is_not_there_is_named_with_the_nearest_that_is(name: str) -> None:
    with pytest.raises(ConfigError, match=r"tasks.t.head.at=erly is no stage of the backbone: did you mean early\?"):
        build(HEADS, name, SPEC, 2, "tasks.t.head", at="erly")


def test_linear_heads_on_one_vector_as_one_product_put_out_and_learn_what_each_does() -> None:
    vector = features().vector.double().requires_grad_()
    heads = [build(HEADS, "linear", SPEC, width, f"tasks.{width}.head").double() for width in (2, 1, 4)]
    outputs = joined(heads, vector)
    assert outputs is not None
    alone = [head(features()._replace(vector=vector)) for head in heads]
    parameters = [parameter for head in heads for parameter in head.parameters()]
    sums = [sum((i + 1) * output.square().sum() for i, output in enumerate(those)) for those in (outputs, alone)]
    one, each = (torch.autograd.grad(total, [vector, *parameters]) for total in sums)
    torch.testing.assert_close([*outputs, *one], [*alone, *each])


@pytest.mark.parametrize(("name", "at"), [("linear", "early"), ("mlp", None)])
def test_with_a_head_of_another_kind_or_on_a_stage_there_is_no_such_product(name: str, at: str | None) -> None:
    heads = [build(HEADS, "linear", SPEC, 2, "a"), build(HEADS, name, SPEC, 2, "b", at=at)]
    assert joined(heads, features().vector) is None
