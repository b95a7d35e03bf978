"""What each strategy shares, and its values by hand."""

import pytest
import torch
from torch import Tensor

from mtl_cli.backbones.base import StageSpec
from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.cross_stitch import CrossStitchSharing, Stitch
from mtl_cli.sharing.hard import HardSharing
from mtl_cli.sharing.independent import IndependentSharing
from mtl_cli.sharing.mmoe import MmoeSharing
from mtl_cli.sharing.options import SHARINGS
from tests.options import build, default
from tests.sharing.test_every_sharing import TASKS, factory, images, made, moved, used

NETWORK = len(list(factory("map")().parameters()))


def copied(sharing: Sharing) -> list[torch.nn.Module]:
    """A plain backbone for each task with that task's weights."""
    networks = [factory("map")().eval() for _ in TASKS]
    for task, network in zip(TASKS, networks, strict=True):
        network.load_state_dict(sharing.networks[slot(task)].state_dict())
    return networks


def test_hard_gives_every_task_one_backbones_features_and_shares_it_whole() -> None:
    sharing = moved(made("hard"))
    assert isinstance(sharing, HardSharing)
    backbone = factory("map")().eval()
    backbone.load_state_dict(sharing.backbone.state_dict())
    expected = backbone(images())
    for features in sharing(images(), TASKS).values():
        assert torch.equal(features.vector, expected.vector)
    found = used(sharing)
    assert len(found.shared) == NETWORK == len(list(sharing.parameters()))
    assert all(len(own) == 2 for own in found.own.values())  # its head
    assert found.bottleneck


def test_hards_last_stage_is_the_backbones_last_with_parameters() -> None:
    sharing = made("hard")
    expected = list(sharing.backbone.stages["stage2"].parameters())
    assert [id(p) for p in sharing.last_stage()] == [id(p) for p in expected]


def test_independent_is_a_network_of_its_own_for_each_task() -> None:
    sharing = moved(made("independent"))
    assert isinstance(sharing, IndependentSharing)
    found = used(sharing)
    assert found.shared == ()
    assert all(len(own) == NETWORK + 2 for own in found.own.values())
    for task, network in zip(TASKS, copied(sharing), strict=True):
        assert torch.equal(sharing(images(), TASKS)[task].vector, network(images()).vector)


@pytest.mark.parametrize("name", ["independent", "cross_stitch"])
def test_networks_start_equal_and_go_their_own_ways(name: str) -> None:
    sharing = made(name)
    first, *others = (sharing.networks[slot(task)].state_dict() for task in TASKS)
    for other in others:
        assert all(torch.equal(tensor, other[key]) for key, tensor in first.items())
        assert all(tensor.data_ptr() != other[key].data_ptr() for key, tensor in first.items())


@pytest.mark.parametrize("name", ["hard", "independent", "cross_stitch"])
@pytest.mark.parametrize("kind", ["map", "vector", "sequence"])
def test_one_task_alone_has_the_plain_backbone(name: str, kind: str) -> None:
    sharing = made(name, kind, TASKS[:1])
    expected = factory(kind)().eval()(images())
    features = sharing(images(), TASKS[:1])[TASKS[0]]
    assert torch.equal(features.vector, expected.vector)
    assert used(sharing, TASKS[:1]).shared == ()


def stitch(networks: int, kind: str, per_channel: bool = True, same: float = 0.9) -> Stitch:
    return Stitch(networks, StageSpec("s", kind, 2, 1), same, per_channel)


def test_a_stitch_of_two_starts_at_nine_tenths_and_one_tenth() -> None:
    first, second = torch.tensor([[10.0, 20.0]]), torch.tensor([[1.0, -2.0]])
    mixed = stitch(2, "vector")([first, second], [0, 1])
    torch.testing.assert_close(mixed[0], torch.tensor([[9.1, 17.8]]))
    torch.testing.assert_close(mixed[1], torch.tensor([[1.9, 0.2]]))


def test_a_stitch_of_three_gives_the_others_equal_parts_of_the_rest() -> None:
    mixture = stitch(3, "map").mixture_TTC
    expected = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
    assert mixture.shape == (3, 3, 2)
    torch.testing.assert_close(mixture[..., 0], expected)
    torch.testing.assert_close(mixture[..., 1], expected)


@pytest.mark.parametrize(
    ("kind", "shape", "equation"),
    [
        ("map", (4, 2, 3, 5), "ijc,jbchw->ibchw"),
        ("vector", (4, 2), "ijc,jbc->ibc"),
        ("sequence", (4, 3, 2), "ijc,jblc->iblc"),
    ],
)
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_stitch_mixes_along_the_channels_of_every_kind(
    kind: str, shape: tuple[int, ...], equation: str, per_channel: bool
) -> None:
    module = stitch(3, kind, per_channel)
    assert module.mixture_TTC.shape == (3, 3, 2 if per_channel else 1)
    with torch.no_grad():
        module.mixture_TTC.copy_(torch.randn(module.mixture_TTC.shape))
    features = list(torch.randn(3, *shape))
    expected = torch.einsum(equation, module.mixture_TTC.expand(3, 3, 2), torch.stack(features))
    for i, mixed in zip([2, 0], module(features, [2, 0]), strict=True):
        torch.testing.assert_close(mixed, expected[i])


def stitched(networks: list[torch.nn.Module], mixtures: dict[str, Tensor]) -> list[Tensor]:
    """The paper's equation 1, stage by stage: every network's vector."""
    tensors = [images() for _ in networks]
    for stage, mixture in mixtures.items():
        outputs = [network.stages[stage](x) for network, x in zip(networks, tensors, strict=True)]
        tensors = [
            torch.stack([mixture[i, j][:, None, None] * outputs[j] for j in range(len(networks))]).sum(0)
            for i in range(len(networks))
        ]
    return [network.neck(x) for network, x in zip(networks, tensors, strict=True)]


def test_cross_stitch_mixes_after_every_stage_and_goes_on_with_the_mixture() -> None:
    sharing = moved(made("cross_stitch"))
    assert isinstance(sharing, CrossStitchSharing)
    mixtures = {
        name: s.mixture_TTC.expand(3, 3, c) for (name, s), c in zip(sharing.stitches.items(), (4, 8), strict=True)
    }
    expected = stitched(copied(sharing), mixtures)
    for features, vector in zip(sharing(images(), TASKS).values(), expected, strict=True):
        torch.testing.assert_close(features.vector, vector)


@pytest.mark.parametrize("per_channel", [True, False])
def test_cross_stitch_with_the_identity_is_independent(per_channel: bool) -> None:
    stitches = build(
        SHARINGS, "cross_stitch", factory("map"), dict.fromkeys(TASKS, 2), same=1.0, per_channel=per_channel
    ).eval()
    independent = moved(made("independent"))
    for task in TASKS:
        stitches.networks[slot(task)].load_state_dict(independent.networks[slot(task)].state_dict())
    for task, features in independent(images(), TASKS).items():
        torch.testing.assert_close(stitches(images(), TASKS)[task].vector, features.vector)


def test_cross_stitch_shares_everything_that_lies_before_a_stitch() -> None:
    sharing = made("cross_stitch")
    found = used(sharing)
    assert len(found.shared) == 3 * NETWORK + 2
    assert all(len(own) == 2 for own in found.own.values())
    assert not found.bottleneck


def test_cross_stitchs_mixtures_learn_at_their_own_rate_without_decay() -> None:
    sharing = build(SHARINGS, "cross_stitch", factory("map"), dict.fromkeys(TASKS, 2), lr_factor=100.0)
    (group,) = sharing.groups()
    assert [tuple(p.shape) for p in group.parameters] == [(3, 3, 4), (3, 3, 8)]
    assert (group.lr_factor, group.decay) == (100.0, False)
    assert default(SHARINGS, "cross_stitch").lr_factor != 100.0


def test_mmoe_mixes_its_experts_by_each_tasks_softmax_of_what_they_read() -> None:
    sharing = moved(made("mmoe"))
    assert isinstance(sharing, MmoeSharing)
    stem = sharing.stem(images())
    experts = [(stem.vector @ e.layers[0].weight.T + e.layers[0].bias).clamp_min(0) for e in sharing.experts]
    assert len(experts) == 8
    for task, features in sharing(images(), TASKS).items():
        scores = stem.vector @ sharing.gates[slot(task)].weight.T
        scores = (scores - scores.amax(1, keepdim=True)).exp()
        gate = scores / scores.sum(1, keepdim=True)
        expected = sum(gate[:, e, None] * made_by for e, made_by in enumerate(experts))
        torch.testing.assert_close(features.vector, expected)


def test_mmoe_with_one_expert_is_hard_whose_trunk_ends_in_that_expert() -> None:
    torch.manual_seed(1)
    sharing = build(SHARINGS, "mmoe", factory("map"), dict.fromkeys(TASKS, 2), experts=1, hidden=[5])
    expected = sharing.experts[0](sharing.stem(images()).vector)
    for features in sharing(images(), TASKS).values():
        torch.testing.assert_close(features.vector, expected)


def test_mmoe_shares_stem_and_experts_and_each_gate_is_its_own_tasks() -> None:
    found = used(made("mmoe"))
    assert len(found.shared) == NETWORK + 8 * 2
    for task, own in found.own.items():
        assert len([name for name in own if name == f"sharing.gates.{slot(task)}.weight"]) == 1
        assert len(own) == 3  # the gate, and a head's weight and bias
    assert not found.bottleneck


def test_mmoes_gates_may_read_a_stage_and_no_other_name() -> None:
    torch.manual_seed(1)
    sharing = build(SHARINGS, "mmoe", factory("map"), dict.fromkeys(TASKS, 2), gate_at="stage1").eval()
    pooled = sharing.stem(images()).stages["stage1"].mean((2, 3))
    features = sharing(images(), TASKS)[TASKS[0]]
    gate = sharing.gates[slot(TASKS[0])]
    torch.testing.assert_close(features.aux["gate"], (pooled @ gate.weight.T).softmax(1))
    with pytest.raises(ConfigError, match=r"sharing.gate_at=stage9 is no stage of the backbone: did you mean stage"):
        build(SHARINGS, "mmoe", factory("map"), dict.fromkeys(TASKS, 2), gate_at="stage9")
