"""Experts of all tasks and of each: values by hand, who shares what, limits."""

import pytest
import torch
from torch import Tensor, nn

from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError
from mtl_cli.sharing.cgc import CgcSharing
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.sharing.ple import PleSharing
from tests.options import build
from tests.sharing.test_every_sharing import TASKS, factory, images, made, moved, used


def by(its_experts: nn.Module, vector: Tensor) -> list[Tensor]:
    """What single-layer experts make of a vector."""
    return [(vector @ e.layers[0].weight.T + e.layers[0].bias).clamp_min(0) for e in its_experts]


def weighed(made_by: list[Tensor], gate: nn.Linear, read: Tensor) -> Tensor:
    """Their mixture by a softmax gate."""
    scores = read @ gate.weight.T
    scores = (scores - scores.amax(1, keepdim=True)).exp()
    return sum(
        score[:, None] * one for score, one in zip((scores / scores.sum(1, keepdim=True)).T, made_by, strict=True)
    )


def names(module: nn.Module, prefix: str) -> set[str]:
    return {name for name, _ in module.named_parameters(prefix=prefix)}


def test_cgc_mixes_each_tasks_own_experts_with_the_shared_ones() -> None:
    sharing = moved(made("cgc"))
    assert isinstance(sharing, CgcSharing)
    vector, level = sharing.stem(images()).vector, sharing.extraction
    for task, features in sharing(images(), TASKS).items():
        all_made = [*by(level.own[slot(task)], vector), *by(level.shared, vector)]
        assert len(all_made) == 2 + 4
        torch.testing.assert_close(features.vector, weighed(all_made, level.gates[slot(task)], vector))


def test_cgc_shares_stem_and_shared_experts_and_no_tasks_own() -> None:
    sharing = made("cgc")
    found, level = used(sharing), sharing.extraction
    shared = names(sharing.stem, "sharing.stem") | names(level.shared, "sharing.extraction.shared")
    assert set(found.shared) == shared
    for task, own in found.own.items():
        experts = names(level.own[slot(task)], f"sharing.extraction.own.{slot(task)}")
        gate = f"sharing.extraction.gates.{slot(task)}.weight"
        assert {n for n in own if n.startswith("sharing.")} == experts | {gate}


def test_ple_with_one_level_is_cgc() -> None:
    ple = moved(build(SHARINGS, "ple", factory("map"), dict.fromkeys(TASKS, 2), levels=1).eval())
    cgc = made("cgc")
    cgc.load_state_dict({key.replace("last.", "extraction.", 1): t for key, t in ple.state_dict().items()})
    for task, features in cgc(images(), TASKS).items():
        assert torch.equal(ple(images(), TASKS)[task].vector, features.vector)


def test_ples_shared_experts_read_a_mixture_of_all_experts_below() -> None:
    sharing = moved(made("ple"))
    assert isinstance(sharing, PleSharing)
    vector = sharing.stem(images()).vector
    (level,) = sharing.levels
    own = {task: by(level.own[slot(task)], vector) for task in TASKS}
    shared = by(level.shared, vector)
    every = [*(one for task in TASKS for one in own[task]), *shared]
    common = weighed(every, level.shared_gate, vector)
    above = by(sharing.last.shared, common)
    for task, features in sharing(images(), TASKS).items():
        below = weighed([*own[task], *shared], level.gates[slot(task)], vector)
        top = [*by(sharing.last.own[slot(task)], below), *above]
        torch.testing.assert_close(features.vector, weighed(top, sharing.last.gates[slot(task)], below))


def test_ples_own_experts_are_everyones_below_and_their_tasks_on_the_last_level() -> None:
    sharing = made("ple")
    found, (level,) = used(sharing), sharing.levels
    below = names(level.own, "sharing.levels.0.own") | names(level.shared_gate, "sharing.levels.0.shared_gate")
    assert below <= set(found.shared)
    for task, own in found.own.items():
        experts = names(sharing.last.own[slot(task)], f"sharing.last.own.{slot(task)}")
        gates = {f"sharing.{place}.gates.{slot(task)}.weight" for place in ("levels.0", "last")}
        assert {n for n in own if n.startswith("sharing.")} == experts | gates


@pytest.mark.parametrize("name", ["cgc", "ple"])
def test_gates_may_read_a_stage_and_no_other_name(name: str) -> None:
    sharing = build(SHARINGS, name, factory("map"), dict.fromkeys(TASKS, 2), gate_at="stage1").eval()
    assert sharing.reader.width == 4
    torch.testing.assert_close(
        sharing.reader(sharing.stem(images())), sharing.stem(images()).stages["stage1"].mean((2, 3))
    )
    with pytest.raises(ConfigError, match=r"sharing.gate_at=stage9 is no stage of the backbone: did you mean stage"):
        build(SHARINGS, name, factory("map"), dict.fromkeys(TASKS, 2), gate_at="stage9")


def test_linear_heads_on_a_basis_of_full_rank_can_be_any_heads() -> None:
    width, outputs = factory("map").spec.width, {"a": 3, "b": 2}
    any_weights = torch.randn(5, width, generator=torch.Generator().manual_seed(5))
    sharing = build(SHARINGS, "low_rank", factory("map"), outputs, rank=5).eval()
    left, values, right = torch.linalg.svd(any_weights, full_matrices=False)
    with torch.no_grad():
        sharing.basis.weight.copy_(right)
    found = sharing(images(), ["a"])["a"].vector @ (left * values).T
    torch.testing.assert_close(found, sharing.backbone(images()).vector @ any_weights.T, atol=1e-4, rtol=1e-4)


def test_linear_heads_on_a_basis_of_rank_two_have_weights_of_rank_two() -> None:
    sharing = build(SHARINGS, "low_rank", factory("map"), dict.fromkeys(TASKS, 2), rank=2).eval()
    heads = torch.randn(6, 2)
    inputs = torch.randn(20, sharing.basis.in_features)
    assert torch.linalg.matrix_rank(heads @ sharing.basis.weight) == 2
    torch.testing.assert_close(sharing.basis(inputs) @ heads.T, inputs @ (heads @ sharing.basis.weight).T)


def test_a_basis_is_the_trunk_and_may_not_be_wider_than_the_vector() -> None:
    found = used(made("low_rank"))
    assert found.bottleneck
    assert {n for own in found.own.values() for n in own if n.startswith("sharing.")} == set()
    with pytest.raises(ConfigError, match=r"sharing.rank=9 is more than the backbone's vector is wide: take at most 8"):
        build(SHARINGS, "low_rank", factory("map"), dict.fromkeys(TASKS, 2), rank=9)
