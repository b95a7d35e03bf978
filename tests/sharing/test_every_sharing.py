"""What every strategy of the table promises, over a backbone of each kind of features."""

import io

import pytest
import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, BackboneFactory, Spec, StageSpec
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.contracts import slot
from mtl_cli.data.base import InputSpec
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.options import HEADS
from mtl_cli.training.graph import Usage, usage
from tests.options import NAMES, build

SHAPE = (3, 8, 8)
TASKS = NAMES[:3]
FIRST, SECOND, THIRD = TASKS
SOME = ((FIRST,), (SECOND,), (THIRD,), (THIRD, FIRST), (SECOND, THIRD), (THIRD, SECOND, FIRST))
"""Each task alone, pairs and all, in orders that are not the model's."""


class Words(Backbone):
    """Rows of an image as a sequence (B, L, D)."""

    def __init__(self) -> None:
        stages = {
            "first": nn.Sequential(nn.Flatten(2), nn.Linear(64, 5), nn.Tanh()),
            "second": nn.Sequential(nn.Linear(5, 4), nn.Tanh()),
        }
        specs = (StageSpec("first", "sequence", 5, 1), StageSpec("second", "sequence", 4, 1))
        super().__init__(stages, nn.Flatten(), Spec(12, specs))


def factory(kind: str) -> BackboneFactory:
    torch.manual_seed(0)
    if kind == "sequence":
        return BackboneFactory(Words())
    if kind == "vector":
        return BackboneFactory(build(BACKBONES, "mlp", InputSpec(SHAPE), hidden=[7, 6]))
    return BackboneFactory(build(BACKBONES, "cnn", InputSpec(SHAPE), channels=4, depth=2))


def made(name: str, kind: str = "map", tasks: tuple[str, ...] = TASKS) -> Sharing:
    torch.manual_seed(1)
    sharing: Sharing = build(SHARINGS, name, factory(kind), dict.fromkeys(tasks, 2))
    return sharing.eval()


def moved(sharing: Sharing) -> Sharing:
    """The same with every number another one, as after training: no two networks are equal."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in sharing.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator))
    return sharing


def images(rows: int = 5) -> Tensor:
    return torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(3))


def model_of(sharing: Sharing, tasks: tuple[str, ...] = TASKS) -> MultiTaskModel:
    heads = {task: build(HEADS, "linear", sharing.spec(task), 2, "head") for task in tasks}
    return MultiTaskModel(sharing, heads, dict.fromkeys(tasks, "p"), True)


def used(sharing: Sharing, tasks: tuple[str, ...] = TASKS) -> Usage:
    return usage(model_of(sharing, tasks), {"p": images(2)})


def penalised(model: MultiTaskModel) -> set[str]:
    """Parameters that the sharing's own penalty moves."""
    penalty = model.sharing.penalty(model.sharing(images(), TASKS), model.heads_by_task())
    if penalty is None:
        return set()
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(penalty, list(named.values()), allow_unused=True)
    return {n for n, gradient in zip(named, gradients, strict=True) if gradient is not None and gradient.any()}


EVERY = pytest.mark.parametrize("name", list(SHARINGS))
KINDS = pytest.mark.parametrize("kind", ["map", "vector", "sequence"])


@EVERY
@KINDS
def test_asking_for_some_tasks_gives_what_the_full_pass_gives_them_in_any_order(name: str, kind: str) -> None:
    sharing = moved(made(name, kind))
    whole = sharing(images(), TASKS)
    assert list(whole) == list(TASKS)
    for some in SOME:
        found = sharing(images(), some)
        assert list(found) == list(some)
        for task in some:
            torch.testing.assert_close(found[task].vector, whole[task].vector)
            assert found[task].stages.keys() == whole[task].stages.keys()
            for stage, tensor in found[task].stages.items():
                torch.testing.assert_close(tensor, whole[task].stages[stage])


@EVERY
@KINDS
@pytest.mark.parametrize("tasks", [TASKS, TASKS[:1]])
def test_a_task_gets_what_its_spec_says(name: str, kind: str, tasks: tuple[str, ...]) -> None:
    sharing = made(name, kind, tasks)
    for task, features in sharing(images(), tasks).items():
        spec = sharing.spec(task)
        assert features.vector.shape == (5, spec.width)
        assert list(features.stages) == [stage.name for stage in spec.stages]
        for stage in spec.stages:
            tensor = features.stages[stage.name]
            channels = tensor.shape[2] if stage.kind == "sequence" else tensor.shape[1]
            assert channels == stage.channels
            assert tensor.dim() == {"map": 4, "sequence": 3, "vector": 2}[stage.kind]


@EVERY
@KINDS
@pytest.mark.parametrize("tasks", [TASKS, TASKS[:1]])
def test_a_state_dict_carries_all_of_it(name: str, kind: str, tasks: tuple[str, ...]) -> None:
    sharing = moved(made(name, kind, tasks))
    file = io.BytesIO()
    torch.save(sharing.state_dict(), file)
    file.seek(0)
    other = made(name, kind, tasks)
    assert not torch.equal(other(images(), tasks)[TASKS[0]].vector, sharing(images(), tasks)[TASKS[0]].vector)
    other.load_state_dict(torch.load(file, weights_only=True))
    for task, features in sharing(images(), tasks).items():
        assert torch.equal(other(images(), tasks)[task].vector, features.vector)


@EVERY
@KINDS
def test_the_whole_strategy_is_trained_and_a_head_is_its_own_tasks(name: str, kind: str) -> None:
    model = model_of(made(name, kind))
    found = usage(model, {"p": images(2)})
    everyone = [name for name, _ in model.named_parameters()]
    assert sorted([*found.shared, *(n for own in found.own.values() for n in own), *found.rest]) == sorted(everyone)
    assert set(found.rest) <= penalised(model)
    related = type(model.sharing).outputs is not Sharing.outputs
    for task in TASKS:
        head = {n for n in everyone if n.startswith(f"heads.{slot(task)}.")}
        assert len(head) == 2
        assert head <= set(found.shared if related else found.own[task])
        assert found.of[task] == {n for n in found.shared if n in found.of[task]} | set(found.own[task])


@EVERY
def test_the_trunk_is_given_only_where_no_shared_parameter_lies_behind_it(name: str) -> None:
    sharing = made(name)
    trunks = [features.trunk for features in sharing(images(), TASKS).values()]
    assert all(trunk is trunks[0] for trunk in trunks)  # one for all, or none
    assert used(sharing).bottleneck == (trunks[0] is not None)


@EVERY
def test_the_last_stages_parameters_are_shared_ones(name: str) -> None:
    sharing = made(name)
    found = used(sharing)
    by_id = {id(p): f"sharing.{n}" for n, p in sharing.named_parameters()}
    last = {by_id[id(p)] for p in sharing.last_stage()}
    assert last <= set(found.shared)
    assert bool(last) == bool(found.shared)


@EVERY
@pytest.mark.parametrize("tasks", [TASKS, TASKS[:1]])
def test_groups_hold_parameters_of_its_own_each_once_at_a_positive_rate(name: str, tasks: tuple[str, ...]) -> None:
    sharing = made(name, tasks=tasks)
    held = [p for group in sharing.groups() for p in group.parameters]
    own = {id(p) for p in sharing.parameters()}
    assert len({id(p) for p in held}) == len(held)
    assert all(id(p) in own for p in held)
    assert all(group.lr_factor > 0 for group in sharing.groups())


@EVERY
def test_an_evaluation_moves_no_state(name: str) -> None:
    sharing = moved(made(name))
    before = {key: tensor.clone() for key, tensor in sharing.state_dict().items()}
    with torch.no_grad():
        sharing(images(), TASKS)
    assert all(torch.equal(tensor, before[key]) for key, tensor in sharing.state_dict().items())


@EVERY
def test_what_is_ready_gives_the_same_features_and_has_no_penalty_of_nan(name: str) -> None:
    sharing = moved(made(name))
    for tasks in (TASKS, TASKS[1:], TASKS[:1]):
        for task, features in sharing.ready(tasks)(images(), tasks).items():
            torch.testing.assert_close(features.vector, sharing(images(), TASKS)[task].vector)
    penalty = sharing.penalty(sharing(images(), TASKS), {})
    assert penalty is None or (penalty.dim() == 0 and bool(torch.isfinite(penalty)))


@EVERY
def test_tasks_may_be_called_like_a_modules_own_attributes(name: str) -> None:
    sharing = made(name, tasks=NAMES)
    assert list(sharing(images(), NAMES)) == list(NAMES)
    assert sharing.train().training
    assert set(used(sharing, NAMES).own) == set(NAMES)


@EVERY
@KINDS
def test_every_network_and_every_piece_of_one_starts_as_the_given_one(name: str, kind: str) -> None:
    start = factory(kind)().state_dict()
    found = [module for module in made(name, kind).modules() if isinstance(module, Backbone)]
    assert found
    for network in found:
        assert all(torch.equal(tensor, start[key]) for key, tensor in network.state_dict().items())
    kept = {stage for network in found for stage in network.stages}
    assert kept == {stage.name for stage in factory(kind).spec.stages}
