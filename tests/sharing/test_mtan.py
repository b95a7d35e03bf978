"""MTAN: the paper's equations by hand, what is shared, and what one task computes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.contracts import slot
from mtl_cli.sharing.mtan import Attention, Join, MtanSharing, taps
from tests.sharing.test_every_sharing import TASKS, factory, images, made, moved, used


def batch_normed(features: Tensor, layers: nn.Module) -> Tensor:
    """A convolution and batch norm in evaluation mode, written out."""
    convolution, norm = layers[0], layers[1]
    made_of = functional.conv2d(features, convolution.weight, padding=convolution.kernel_size[0] // 2)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (made_of - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def masked(attention: Attention, seen: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 1 and 2."""
    inner = batch_normed(seen, attention.g.layers).clamp_min(0)
    mask = 1 / (1 + (-batch_normed(inner, attention.h.layers)).exp())
    return mask * last, batch_normed(mask * last, attention.f.layers).clamp_min(0)


def test_a_task_takes_of_each_stage_what_its_mask_lets_through() -> None:
    sharing = moved(made("mtan"))
    assert isinstance(sharing, MtanSharing)
    first_stage, second_stage = sharing.backbone.stages["stage1"], sharing.backbone.stages["stage2"]
    pooled = first_stage[1](first_stage[0](images()))  # the first output of the stage's size
    one = first_stage(images())
    again = second_stage[1](second_stage[0](one))
    two = second_stage(one)
    for task, features in sharing(images(), TASKS).items():
        attentions = sharing.attentions[slot(task)]
        taken, handed = masked(attentions["stage1"], pooled, one)
        torch.testing.assert_close(features.stages["stage1"], taken)
        seen = torch.cat([again, functional.max_pool2d(handed, 2)], 1)
        taken, handed = masked(attentions["stage2"], seen, two)
        torch.testing.assert_close(features.stages["stage2"], taken)
        torch.testing.assert_close(features.vector, handed.mean((2, 3)))


@pytest.mark.parametrize("kind", ["map", "vector", "sequence"])
def test_with_its_masks_open_a_task_takes_the_backbones_own_stages(kind: str) -> None:
    sharing = made("mtan", kind)
    for attention in sharing.attentions[slot(TASKS[0])].values():
        nn.init.constant_(attention.h.layers[1].weight, 0.0)
        nn.init.constant_(attention.h.layers[1].bias, 50.0)
    expected = factory(kind)().eval()(images())
    for name, tensor in sharing(images(), TASKS[:1])[TASKS[0]].stages.items():
        torch.testing.assert_close(tensor, expected.stages[name])


def test_tasks_share_the_backbone_and_nothing_of_their_attentions() -> None:
    sharing = made("mtan")
    found = used(sharing)
    assert set(found.shared) == {f"sharing.backbone.{n}" for n, _ in sharing.backbone.named_parameters()}
    for task, own in found.own.items():
        attentions = {n for n, _ in sharing.named_parameters(prefix="sharing") if f".{slot(task)}." in n}
        assert attentions == {n for n in own if n.startswith("sharing.")}
        assert len(attentions) == 2 * 9


def test_a_stage_of_several_blocks_is_tapped_where_it_first_has_its_size() -> None:
    blocks = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Tanh(), nn.Sigmoid())
    image = torch.randn(1, 1, 8, 8)
    first, last = taps(blocks, image)
    assert torch.equal(first, blocks[:2](image))
    assert torch.equal(last, blocks(image))
    whole = nn.Tanh()
    assert torch.equal(*taps(whole, image))


@pytest.mark.parametrize(
    ("kinds", "given", "like", "expected"),
    [
        (("map", "map"), [[[[1.0, 4.0], [3.0, 2.0]]]], torch.zeros(1, 1, 1, 1), [[[[4.0]]]]),
        (("map", "vector"), [[[[1.0, 4.0], [3.0, 2.0]]]], torch.zeros(1, 1), [[2.5]]),
        (("map", "sequence"), [[[[1.0, 4.0], [3.0, 2.0]]]], torch.zeros(1, 2, 1), [[[2.5], [2.5]]]),
        (("sequence", "sequence"), [[[1.0], [4.0]]], torch.zeros(1, 2, 3), [[[1.0], [4.0]]]),
        (("sequence", "sequence"), [[[1.0], [4.0]]], torch.zeros(1, 3, 1), [[[2.5], [2.5], [2.5]]]),
        (("vector", "map"), [[3.0]], torch.zeros(1, 1, 1, 2), [[[[3.0, 3.0]]]]),
    ],
)
def test_what_is_handed_on_takes_the_next_stages_size(
    kinds: tuple[str, str], given: list[object], like: Tensor, expected: list[object]
) -> None:
    assert torch.equal(Join(*kinds)(torch.tensor(given), like), torch.tensor(expected))
