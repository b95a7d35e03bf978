"""What some tasks need of a model is kept, and nothing else, whatever the strategy."""

from functools import lru_cache

import pytest
import torch

from mtl_cli.contracts import slot
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.ltb import LtbSharing
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.shipping.needed import needed
from mtl_cli.training.graph import leaves
from tests.options import NAMES
from tests.shipping.models import PARTS, SHAPE, live

EVERY = pytest.mark.parametrize("sharing", list(SHARINGS), scope="module")
SOME = (NAMES[:1], NAMES[1:3], NAMES[3:], NAMES)
"""One task of each part, two of two parts, all."""


def images() -> torch.Tensor:
    return torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(3))


@lru_cache(maxsize=1)
def taken_out(sharing: str) -> tuple[MultiTaskModel, dict[tuple[str, ...], MultiTaskModel]]:
    """A model, and what some tasks need of it; made once for tests that follow one another."""
    model = live(sharing).model
    return model, {tasks: needed(model, tasks, SHAPE) for tasks in SOME}


@EVERY
def test_the_tasks_answer_as_in_the_joint_model_to_the_last_bit(sharing: str) -> None:
    model, of = taken_out(sharing)
    for tasks, small in of.items():
        assert list(small.part_of) == list(tasks)
        for task in tasks:
            found, expected = (m(images(), [task], PARTS[task])[task] for m in (small, model))
            assert torch.equal(found, expected)


@EVERY
def test_what_is_kept_is_what_the_outputs_depend_on(sharing: str) -> None:
    _, of = taken_out(sharing)
    for tasks, small in of.items():
        names = {id(parameter): name for name, parameter in small.named_parameters()}
        outputs = [small(images(), [task], PARTS[task])[task] for task in tasks]
        assert {names[i] for i in leaves(outputs)} == set(names.values())
        parts = {PARTS[task] for task in tasks}
        statistics = [name for name in small.state_dict() if "running" in name]
        assert {name.split(".")[1] for name in statistics} == {slot(part) for part in parts}
        assert not any("tracked" in name for name in small.state_dict())


@EVERY
def test_the_live_model_stays_as_it_is(sharing: str) -> None:
    model = live(sharing).model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    needed(model, NAMES[:1], SHAPE)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {module.training for module in model.modules()} == {True}


def heads(state: dict[str, torch.Tensor]) -> set[str]:
    return {name.split(".")[1] for name in state if name.startswith("heads.")}


def networks(state: dict[str, torch.Tensor]) -> set[str]:
    return {name.split(".")[2] for name in state if name.startswith("sharing.networks.")}


@pytest.mark.parametrize("sharing", ["independent", "soft"])
def test_of_independent_networks_one_task_keeps_its_own(sharing: str) -> None:
    state = needed(live(sharing).model, NAMES[1:2], SHAPE).state_dict()
    assert heads(state) == networks(state) == {slot(NAMES[1])}


def test_of_a_hard_shared_network_one_task_keeps_the_trunk_and_its_head() -> None:
    model = live("hard").model
    state = needed(model, NAMES[1:2], SHAPE).state_dict()
    assert heads(state) == {slot(NAMES[1])}
    trunk = {name for name, _ in model.named_parameters() if name.startswith("sharing.")}
    assert trunk <= set(state)


@pytest.mark.parametrize("sharing", ["cross_stitch", "nddr", "sluice"])
def test_of_networks_that_read_each_other_one_task_keeps_all(sharing: str) -> None:
    state = needed(live(sharing).model, NAMES[1:2], SHAPE).state_dict()
    assert networks(state) == {slot(name) for name in NAMES}
    assert heads(state) == {slot(NAMES[1])}


def test_of_a_learned_tree_one_task_keeps_its_path() -> None:
    model = live("ltb").model
    assert isinstance(model.sharing, LtbSharing)
    state = needed(model, NAMES[1:2], SHAPE).state_dict()
    kept = {tuple(name.split(".")[2:5:2]) for name in state if name.startswith("sharing.networks.")}
    stages = [stage.name for stage in model.sharing.spec(NAMES[1]).stages]
    assert kept == {(str(node), stage) for node, stage in zip(model.sharing.paths()[NAMES[1]], stages, strict=True)}
    assert heads(state) == {slot(NAMES[1])}
    assert [name for name in state if "parents" in name or "leaves" in name] == []


def test_of_gated_experts_one_task_keeps_all_experts_and_its_own_gate() -> None:
    model = live("mmoe").model
    state = needed(model, NAMES[1:2], SHAPE).state_dict()
    assert {name.split(".")[2] for name in state if name.startswith("sharing.gates.")} == {slot(NAMES[1])}
    experts = {name for name, _ in model.named_parameters() if name.startswith("sharing.experts.")}
    assert experts <= set(state)


def test_vectors_are_as_good_as_images() -> None:
    model = live("independent", "mlp", shape=(5,)).model
    small = needed(model, NAMES[:1], (5,))
    vectors = torch.randn(3, 5)
    task = NAMES[0]
    assert torch.equal(small(vectors, [task], "train")[task], model(vectors, [task], "train")[task])
