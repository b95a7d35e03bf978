"""Soft sharing: distances by hand, and what it is in its limits."""

from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.contracts import slot
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.distances import DISTANCES
from mtl_cli.sharing.options import SHARINGS
from tests.options import build
from tests.sharing.test_every_sharing import TASKS, factory, images, made, moved, used

THREE = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[1.0, 0.0], [3.0, 4.0]], [[1.0, 2.0], [0.0, 0.0]]])
"""A layer (out 2, in 2) of three tasks, the first and the last equal."""


@pytest.mark.parametrize(("distance", "expected"), [("l2", 29.0), ("l1", 18.0), ("group", 14.0)])
def test_distances_are_sums_over_pairs(distance: str, expected: float) -> None:
    # a pair that differs: squares 4 + 9 + 16, absolute values 2 + 3 + 4, norms of output units 2 + 5
    assert float(DISTANCES[distance](THREE)) == pytest.approx(expected)


def test_the_trace_norm_is_the_sum_of_singular_values_with_its_gradient() -> None:
    weights = torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    norm = DISTANCES["trace_norm"](weights)
    left, values, right = torch.linalg.svd(weights.detach().flatten(1), full_matrices=False)
    torch.testing.assert_close(norm, values.sum())
    (gradient,) = torch.autograd.grad(norm, weights)
    torch.testing.assert_close(gradient.flatten(1), left @ right, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("distance", list(DISTANCES))
@pytest.mark.parametrize("start", [torch.ones(2, 3), torch.zeros(2, 3)])
def test_equal_networks_have_a_gradient_without_nan(distance: str, start: Tensor) -> None:
    weights = start.expand(3, 2, 3).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(DISTANCES[distance](weights), weights)
    assert bool(torch.isfinite(gradient).all())


def test_the_penalty_draws_active_tasks_to_all_by_each_stages_lambda() -> None:
    sharing = moved(
        build(SHARINGS, "soft", factory("map"), dict.fromkeys(TASKS, 2), strength=0.5, stages={"stage2": 3})
    )
    features = sharing(images(), TASKS)
    some = [TASKS[0], TASKS[2]]
    networks = [sharing.networks[slot(task)] for task in TASKS]
    expected = sum(
        strength * 0.5 * (p - q).square().sum()
        for stage, strength in (("stage1", 0.5), ("stage2", 3.0))
        for one, other in combinations(networks, 2)
        for p, q in zip(one.stages[stage].parameters(), other.stages[stage].parameters(), strict=True)
    )
    penalty = sharing.penalty({task: features[task] for task in some}, {})
    torch.testing.assert_close(penalty, expected)
    penalty.backward()
    assert all(p.grad is None for p in sharing.networks[slot(TASKS[1])].parameters())
    drawn, *rest = (network.stages["stage2"].get_submodule("0").weight for network in networks)
    pull = 3.0 * (len(TASKS) * drawn - drawn - sum(rest))
    torch.testing.assert_close(drawn.grad, pull.detach())


def test_one_network_alone_is_drawn_to_nothing() -> None:
    sharing = build(SHARINGS, "soft", factory("map"), {TASKS[0]: 2})
    assert sharing.penalty(sharing(images(), TASKS[:1]), {}) is None


def test_a_lambda_for_no_stage_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^sharing.stages.stage9 is no stage of the backbone: did you mean stage"):
        build(SHARINGS, "soft", factory("map"), dict.fromkeys(TASKS, 2), stages={"stage9": 1.0})


def test_nothing_is_reached_by_two_tasks() -> None:
    found = used(made("soft"))
    assert found.shared == ()
    assert found.rest == ()


TWO = {"a": 1, "b": 1}


class Course:
    """Plain gradient descent on two regressions, trunk and heads at rates of their own, in float64."""

    def __init__(self, sharing: Sharing, trunk_lr: float, lr: float) -> None:
        torch.manual_seed(2)
        self.sharing = sharing.double()
        self.heads = nn.ModuleDict({task: nn.Linear(5, 1).double() for task in TWO})
        groups = [{"params": list(sharing.parameters()), "lr": trunk_lr}, {"params": list(self.heads.parameters())}]
        self.optimizer = torch.optim.SGD(groups, lr=lr)
        self.inputs = torch.randn(12, 6, dtype=torch.float64)
        self.targets = torch.randn(12, 2, dtype=torch.float64)

    def step(self) -> None:
        features = self.sharing(self.inputs, list(TWO))
        outputs = torch.cat([self.heads[task](features[task].vector) for task in TWO], 1)
        loss = (outputs - self.targets).square().mean(0).sum()
        penalty = self.sharing.penalty(features, {})
        self.optimizer.zero_grad()
        (loss if penalty is None else loss + penalty).backward()
        self.optimizer.step()


def course(name: str, trunk_lr: float, lr: float, **options: object) -> Course:
    torch.manual_seed(1)
    backbone = build(BACKBONES, "mlp", InputSpec((6,)), hidden=[5, 5])
    return Course(build(SHARINGS, name, BackboneFactory(backbone), TWO, **options), trunk_lr, lr)


def test_with_lambda_zero_it_is_independent() -> None:
    soft, independent = course("soft", 0.1, 0.1, strength=0.0), course("independent", 0.1, 0.1)
    for _ in range(5):
        soft.step()
        independent.step()
    for ours, its in zip(soft.sharing.parameters(), independent.sharing.parameters(), strict=True):
        assert torch.equal(ours, its)


def apart(lr: float, steps: int) -> float:
    """How far soft's mean network is from hard's trunk at rate lr / T, where lr lambda T = 1."""
    soft, hard = course("soft", lr, lr, strength=1 / (2 * lr)), course("hard", lr / 2, lr)
    for _ in range(steps):
        soft.step()
        hard.step()
    networks = [list(network.parameters()) for network in soft.sharing.networks.values()]
    means = [(p + q) / 2 for p, q in zip(*networks, strict=True)]
    return max(float((m - p).detach().abs().max()) for m, p in zip(means, hard.sharing.parameters(), strict=True))


def test_at_lr_lambda_t_of_one_the_mean_network_follows_hard_at_a_trunk_rate_of_lr_over_t() -> None:
    assert apart(0.1, steps=1) < 1e-12
    coarse, fine = apart(0.02, steps=6), apart(0.01, steps=6)
    assert 0 < fine < coarse < 1e-2
    assert 3.0 < coarse / fine < 5.0  # what is left goes as the square of the rate
