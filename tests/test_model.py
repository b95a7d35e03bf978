"""The model: outputs by task name, statistics by part, and a look at its graph that leaves no trace."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, BackboneFactory, Pool, Spec, StageSpec
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.contracts import slot
from mtl_cli.data.base import InputSpec
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.options import HEADS
from mtl_cli.training.graph import usage
from tests.options import NAMES, build

SHAPE = (3, 8, 8)
PARTS = dict(zip(NAMES, ("train", "train", "eval", "eval"), strict=True))
"""Four tasks on two parts; parts too may be called like a module's own attributes."""
FIRST, SECOND = NAMES[:2], NAMES[2:]
EVERY = pytest.mark.parametrize("sharing", list(SHARINGS))


def made(sharing: str = "hard", per_part: bool = True, parts: dict[str, str] = PARTS, seed: int = 0) -> MultiTaskModel:
    torch.manual_seed(seed)
    factory = BackboneFactory(build(BACKBONES, "cnn", InputSpec(SHAPE), channels=4, depth=2, norm="batch"))
    shared: Sharing = build(SHARINGS, sharing, factory, dict.fromkeys(parts, 2))
    heads = {task: build(HEADS, "mlp", shared.spec(task), 2, "head", dropout=0.5) for task in parts}
    return MultiTaskModel(shared, heads, parts, per_part)


def images(seed: int, shift: float = 0.0, rows: int = 6) -> Tensor:
    return shift + torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(seed))


def running(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of all running statistics."""
    return {key: t.clone() for key, t in state.items() if "running" in key or "tracked" in key}


@EVERY
def test_each_output_is_its_own_heads_of_its_own_features(sharing: str) -> None:
    model = made(sharing, per_part=False).eval()
    outputs = model(images(0), NAMES[::-1], "train")
    assert list(outputs) == list(NAMES[::-1])
    features = model.sharing(images(0), NAMES)
    for task, output in outputs.items():
        torch.testing.assert_close(output, model.heads_by_task()[task](features[task]))


@EVERY
def test_with_several_parts_each_keeps_the_statistics_of_its_own_rows(sharing: str) -> None:
    model = made(sharing).train()
    alone = {"train": copy.deepcopy(model.sharing), "eval": copy.deepcopy(model.sharing)}
    for step in range(4):  # in turn; each plain network sees one part only
        model(images(step), FIRST, "train")
        model(images(step, shift=3.0), SECOND, "eval")
        alone["train"](images(step), FIRST)
        alone["eval"](images(step, shift=3.0), SECOND)
    model.eval()
    for part, tasks in (("train", FIRST), ("eval", SECOND)):
        expected = alone[part].eval()(images(9), tasks)
        for task, features in model.run(images(9), tasks, part).features.items():
            torch.testing.assert_close(features.vector, expected[task].vector)
    one, other = (model.run(images(9), NAMES, part).features[NAMES[0]].vector for part in ("train", "eval"))
    assert not torch.allclose(one, other)


@EVERY
def test_training_on_one_part_leaves_the_others_statistics_alone(sharing: str) -> None:
    model = made(sharing).train()
    before = running(model.state_dict())
    model(images(0, shift=1.0), FIRST, "train")
    after = model.state_dict()
    changed = {key for key, tensor in before.items() if not torch.equal(tensor, after[key])}
    assert changed
    assert changed == {key for key in changed if key.startswith("statistics.task:train.")}


@EVERY
def test_an_evaluation_leaves_all_statistics_alone(sharing: str) -> None:
    model = made(sharing).eval()
    before = running(model.state_dict())
    model(images(0, shift=1.0), FIRST, "train")
    after = model.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())


@EVERY
@pytest.mark.parametrize("parts", [PARTS, dict.fromkeys(NAMES, "train")])
def test_shared_statistics_and_those_of_one_part_are_the_plain_networks(sharing: str, parts: dict[str, str]) -> None:
    model = made(sharing, per_part=len(set(parts.values())) == 1, parts=parts).train()
    plain = copy.deepcopy(model.sharing)
    for step in range(3):
        model(images(step), FIRST, "train")
        model(images(step, shift=3.0), SECOND, parts[SECOND[0]])
        plain(images(step), FIRST)
        plain(images(step, shift=3.0), SECOND)
    found, expected = running(model.state_dict()), running(plain.state_dict())
    assert found.keys() == {f"sharing.{key}" for key in expected}
    assert all(torch.equal(found[f"sharing.{key}"], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize(("sharing", "per_part"), [*((name, True) for name in SHARINGS), ("hard", False)])
def test_a_state_dict_carries_all_of_it(sharing: str, per_part: bool) -> None:
    model, other = made(sharing, per_part).train(), made(sharing, per_part, seed=7)
    for step in range(2):
        model(images(step), FIRST, "train")
        model(images(step, shift=3.0), SECOND, "eval")
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for part, tasks in (("train", FIRST), ("eval", SECOND)):
        found, expected = other.eval()(images(9), tasks, part), model.eval()(images(9), tasks, part)
        assert all(torch.equal(found[task], expected[task]) for task in tasks)


@pytest.mark.parametrize(("sharing", "training"), [*((name, True) for name in SHARINGS), ("hard", False)])
def test_reading_the_graph_leaves_no_trace(sharing: str, training: bool) -> None:
    model = made(sharing).train(training)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    found = usage(model, {"train": images(0, rows=2), "eval": images(1, rows=2)})
    assert torch.equal(torch.random.get_rng_state(), state)
    assert {module.training for module in model.modules()} == {training}
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(found.of) == set(NAMES)


def test_reading_the_graph_finds_what_lies_behind_it_in_two_parts() -> None:
    found = usage(made("hard"), {"train": images(0, rows=2), "eval": images(1, rows=2)})
    assert all(name.startswith("sharing.") for name in found.shared)
    assert found.own[NAMES[3]] == tuple(
        f"heads.{slot(NAMES[3])}.layers.{i}" for i in ("0.weight", "0.bias", "3.weight", "3.bias")
    )
    assert found.bottleneck


def test_a_frozen_parameter_is_no_ones() -> None:
    model = made("hard")
    frozen = {f"sharing.{name}" for name, _ in model.sharing.named_parameters() if "stage1" in name}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    found = usage(model, {"train": images(0, rows=2), "eval": images(1, rows=2)})
    assert frozen
    assert frozen.isdisjoint({*found.shared, *found.rest, *(n for own in found.own.values() for n in own)})


class Untracked(Backbone):
    """A batch norm without running statistics, as some networks have."""

    def __init__(self) -> None:
        stage = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
        super().__init__({"one": stage}, Pool("map"), Spec(4, (StageSpec("one", "map", 4, 1),)))


def test_a_norm_that_tracks_nothing_has_no_statistics_to_keep_apart() -> None:
    shared = build(SHARINGS, "hard", BackboneFactory(Untracked()), dict.fromkeys(NAMES, 2))
    heads = {task: build(HEADS, "linear", shared.spec(task), 2, "head") for task in NAMES}
    model = MultiTaskModel(shared, heads, PARTS, per_part=True).eval()
    expected = shared(images(0), FIRST)[FIRST[0]].vector
    assert torch.equal(model.run(images(0), FIRST, "train").features[FIRST[0]].vector, expected)
