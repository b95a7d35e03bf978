"""nddr and sluice: mixtures between networks by hand, and the limits in which there are none."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, StageSpec
from mtl_cli.contracts import slot
from mtl_cli.sharing.nddr import Reduction
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.sharing.sluice import Subspaces, overlap
from tests.options import build
from tests.sharing.test_every_sharing import TASKS, factory, images, made, moved, used

THREE = dict.fromkeys(TASKS, 2)
KINDS = pytest.mark.parametrize("kind", ["map", "vector", "sequence"])
SHAPES = {"map": (4, 2, 3, 5), "vector": (4, 2), "sequence": (4, 3, 2)}


def channels_last(kind: str, features: Tensor) -> Tensor:
    return features.movedim(1, -1) if kind == "map" else features


@KINDS
def test_a_reduction_starts_at_nine_tenths_of_its_own_and_half_a_tenth_of_each_other(kind: str) -> None:
    first, second, third = torch.randn(3, *SHAPES[kind])
    reduction = Reduction(3, StageSpec("s", kind, 2, 1), 0.9).eval()
    found = reduction([first, second, third], [1])[0] * (1 + reduction.norms[1].eps) ** 0.5
    torch.testing.assert_close(found, 0.05 * first + 0.9 * second + 0.05 * third)


@KINDS
def test_a_reduction_is_a_linear_map_of_all_networks_channels_and_batch_norm(kind: str) -> None:
    features = list(torch.randn(2, *SHAPES[kind]))
    reduction = Reduction(2, StageSpec("s", kind, 2, 1), 0.9).train()
    with torch.no_grad():
        reduction.weights[0].copy_(torch.randn(2, 4))
    joined = torch.cat([channels_last(kind, x) for x in features], -1) @ reduction.weights[0].T
    dims = tuple(range(joined.dim() - 1))
    expected = (joined - joined.mean(dims)) / (joined.var(dims, unbiased=False) + reduction.norms[0].eps).sqrt()
    torch.testing.assert_close(channels_last(kind, reduction(features, [0])[0]), expected)


def test_of_reductions_matrices_decay_and_norms_do_not() -> None:
    strategy = made("nddr")
    names = {id(p): n for n, p in strategy.named_parameters()}
    decaying = {names[id(p)]: group.decay for group in strategy.groups() for p in group.parameters}
    assert decaying == {n: ".weights." in n for n in names.values() if n.startswith("reductions.")}


@KINDS
@pytest.mark.parametrize("name", ["nddr", "sluice"])
def test_with_the_whole_backbone_frozen_the_last_stage_is_of_what_still_trains(name: str, kind: str) -> None:
    network = factory(kind)()
    network.freeze(network.spec.stages[-1].name)
    strategy = build(SHARINGS, name, BackboneFactory(network), THREE)
    names = {id(p): f"sharing.{n}" for n, p in strategy.named_parameters()}
    last = {names[id(p)] for p in strategy.last_stage()}
    assert last
    assert last <= set(used(strategy).shared)


def alike(strategy: Any, independent: Any) -> None:
    for task in TASKS:
        strategy.networks[slot(task)].load_state_dict(independent.networks[slot(task)].state_dict())
    for task, features in independent(images(), TASKS).items():
        torch.testing.assert_close(strategy(images(), TASKS)[task].vector, features.vector)


@KINDS
def test_nddr_with_the_identity_and_no_norm_is_independent(kind: str) -> None:
    strategy = build(SHARINGS, "nddr", factory(kind), THREE, same=1.0).eval()
    for module in strategy.reductions.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_var.fill_(1 - module.eps)
    alike(strategy, moved(made("independent", kind)))


@KINDS
def test_sluice_with_the_identity_and_heads_on_the_last_stage_is_independent(kind: str) -> None:
    strategy = build(SHARINGS, "sluice", factory(kind), THREE, same=1.0, last=1.0).eval()
    alike(strategy, moved(made("independent", kind)))


@KINDS
def test_subspaces_are_slices_of_the_channels_mixed_between_networks(kind: str) -> None:
    stage = StageSpec("s", kind, 5, 1)  # two slices of two, and one channel that stays
    mixture = Subspaces(2, stage, 2, 0.9)
    torch.testing.assert_close(mixture.alpha.diagonal(), torch.full((4,), 0.9))
    torch.testing.assert_close(mixture.alpha[0, 1:], torch.full((3,), 0.1 / 3))
    with torch.no_grad():
        mixture.alpha.copy_(torch.arange(16.0).view(4, 4))
    shape = {"map": (3, 5, 2, 2), "vector": (3, 5), "sequence": (3, 2, 5)}[kind]
    first, second = torch.randn(2, *shape)
    a, b = channels_last(kind, first), channels_last(kind, second)
    slices = [a[..., :2], a[..., 2:4], b[..., :2], b[..., 2:4]]
    rows = [sum(w * x for w, x in zip(mixture.alpha[i], slices, strict=True)) for i in (2, 3)]
    expected = torch.cat([*rows, b[..., 4:]], -1)
    torch.testing.assert_close(channels_last(kind, mixture([first, second], [1])[0]), expected)


def test_a_sluiced_task_reads_its_vector_and_every_stage_before() -> None:
    strategy = moved(made("sluice"))
    for task, features in strategy(images(), TASKS).items():
        skip = strategy.skips[slot(task)]
        assert skip.beta.shape == (2,)
        vector = features.stages["stage2"].mean((2, 3))
        early = features.stages["stage1"].mean((2, 3)) @ skip.projections["stage1"].weight.T
        torch.testing.assert_close(features.vector, skip.beta[0] * early + skip.beta[1] * vector)


def test_subspaces_overlap_by_the_products_of_their_rows() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    assert float(overlap(weight, 2)) == 9.0  # rows (1, 0) and (3, 0) meet, all else is orthogonal
    assert float(overlap(weight, 4)) == 9.0
    assert float(overlap(weight, 1)) == 0.0


def test_the_penalty_is_of_active_tasks_networks_alone() -> None:
    strategy = moved(made("sluice"))
    features = strategy(images(), TASKS)
    network = strategy.networks[slot(TASKS[1])]
    convolutions = [network.stages["stage1"][0], network.stages["stage2"][-1].layers[3]]
    assert all(isinstance(layer, nn.Conv2d) for layer in convolutions)
    expected = 0.01 * sum(overlap(layer.weight, 2) for layer in convolutions)
    penalty = strategy.penalty({TASKS[1]: features[TASKS[1]]}, {})
    torch.testing.assert_close(penalty, expected)
    none = build(SHARINGS, "sluice", factory("map"), THREE, orthogonality=0.0)
    assert none.penalty(features, {}) is None


@pytest.mark.parametrize(("name", "mine"), [("nddr", 3), ("sluice", 2)])
def test_networks_are_shared_and_what_reads_the_last_mixture_is_a_tasks_own(name: str, mine: int) -> None:
    strategy = made(name)
    found = used(strategy)
    networks = {n for n, _ in strategy.networks.named_parameters(prefix="sharing.networks")}
    assert networks <= set(found.shared)
    for task, own in found.own.items():
        i = TASKS.index(task)
        expected = {
            "nddr": {
                f"sharing.reductions.stage2.{n}" for n in (f"weights.{i}", f"norms.{i}.weight", f"norms.{i}.bias")
            },
            "sluice": {f"sharing.skips.{slot(task)}.{n}" for n in ("beta", "projections.stage1.weight")},
        }[name]
        assert {n for n in own if n.startswith("sharing.")} == expected
        assert len(expected) == mine
