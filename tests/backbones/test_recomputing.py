"""Stages that are computed again in the backward pass: the same numbers, whoever lent the buffers, however often."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from mtl_cli.backbones.base import Backbone, BackboneFactory
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.options import HEADS
from mtl_cli.training.graph import usage
from tests.backbones.test_torchvision import images, made
from tests.options import build

MODELS = ["resnet18", "mobilenet_v3_small"]  # batch norm; batch norm and dropout, in the neck
DROPPING = "efficientnet_b0"  # stochastic depth within its stages


def twins(model: str) -> tuple[Backbone, Backbone]:
    """The same network, plain and recomputed, in training mode."""
    plain, again = (made(model, (3, 32, 32), gradient_checkpointing=flag).train() for flag in (False, True))
    again.load_state_dict(plain.state_dict())
    return plain, again


def gradients(backbone: Backbone, run: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Of all weights, after the two backward passes of two tasks over one graph."""
    torch.manual_seed(3)
    vector = run(images(32, rows=4))
    losses = [vector.square().sum(), vector[:, ::2].sum()]
    rows = [
        torch.autograd.grad(loss, list(backbone.parameters()), retain_graph=True, materialize_grads=True)
        for loss in losses
    ]
    sum(losses).backward()
    return [*(tensor for row in rows for tensor in row), *(p.grad for p in backbone.parameters())]


def same(first: list[Tensor], second: list[Tensor]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("model", [*MODELS, pytest.param(DROPPING, marks=pytest.mark.slow)])
def test_gradients_and_running_statistics_are_those_without_it_in_every_backward_pass(model: str) -> None:
    plain, again = twins(model)
    same(*(gradients(backbone, lambda x, b=backbone: b(x).vector) for backbone in (plain, again)))
    same(list(plain.buffers()), list(again.buffers()))
    assert int(again.get_buffer(next(n for n, _ in again.named_buffers() if n.endswith("tracked")))) == 1


def test_lent_buffers_and_weights_are_used_again_and_those_of_the_network_left_alone() -> None:
    plain, again = twins("resnet18")
    found, moved = [], []
    for backbone in (plain, again):
        own = {name: tensor.clone() for name, tensor in backbone.named_buffers()}
        lent = {name: tensor.clone() + 2 for name, tensor in own.items()}

        def run(x: Tensor, b: Backbone = backbone, lent: dict[str, Tensor] = lent) -> Tensor:
            vector: Tensor = functional_call(b, lent, (x,)).vector
            return vector

        found.append(gradients(backbone, run))
        moved.append(list(lent.values()))
        assert all(torch.equal(tensor, own[name]) for name, tensor in backbone.named_buffers())
    same(*found)
    same(*moved)


def test_lent_weights_get_the_gradients_and_not_the_networks_own() -> None:
    found = []
    for backbone in twins("resnet18"):
        lent = {name: (2 * p.detach()).requires_grad_() for name, p in backbone.named_parameters()}
        functional_call(backbone, lent, (images(32),)).vector.sum().backward()
        assert all(p.grad is None for p in backbone.parameters())
        found.append([tensor.grad for tensor in lent.values() if tensor.grad is not None])
    same(*found)


def test_a_stage_keeps_its_input_alone_until_the_backward_pass() -> None:
    kept = []
    for backbone in twins("resnet18"):
        sizes: list[int] = []

        def note(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            backbone(images(32))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 20


def test_the_walk_over_the_graph_finds_the_same_weights() -> None:
    found = []
    for backbone in twins("mobilenet_v3_small"):
        sharing = build(SHARINGS, "cross_stitch", BackboneFactory(backbone), {"a": 2, "b": 2})
        heads = {task: build(HEADS, "linear", sharing.spec(task), 2, "head") for task in ("a", "b")}
        model = MultiTaskModel(sharing, heads, {"a": "p", "b": "p"}, True)
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        found.append(usage(model.train(), {"p": images(32)}))
        assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert found[0] == found[1]
    assert found[0].shared


def test_evaluation_and_passes_without_gradients_are_plain() -> None:
    plain, again = twins("resnet18")
    torch.testing.assert_close(again.eval()(images(32)).vector, plain.eval()(images(32)).vector, rtol=0, atol=0)
    with torch.no_grad():
        assert torch.equal(again.train()(images(32)).vector, plain.train()(images(32)).vector)
    same(list(plain.buffers()), list(again.buffers()))
