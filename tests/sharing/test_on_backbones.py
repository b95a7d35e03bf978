"""What every strategy promises, after real steps of training on a backbone of each kind."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_cli.sharing.options import SHARINGS
from mtl_cli.shipping.base import Recipe
from mtl_cli.shipping.metadata import metadata
from mtl_cli.shipping.needed import Reads, needed
from mtl_cli.shipping.options import FORMATS
from mtl_cli.shipping.quiet import quiet
from mtl_cli.shipping.shipped import Shipped
from mtl_cli.shipping.verify import compare, judge
from mtl_cli.training.checkpoint import Contents, Store, load_training, load_weights
from mtl_cli.training.graph import leaves
from tests.options import default
from tests.sharing.courses import EARLY, LATE, STEPS, TASKS, VARIANTS, Toy, course, start

SMALL = ("mlp", "cnn")
LARGE = ("resnet18_cifar", "resnet", "vit")
ON = [
    *(pytest.param(name, network, id=f"{name}-{network}") for name in SHARINGS for network in SMALL),
    *(pytest.param(name, "cnn", id=name) for name in VARIANTS),
    *(
        pytest.param(name, network, id=f"{name}-{network}", marks=pytest.mark.slow)
        for network in LARGE
        for name in SHARINGS
    ),
]
EVERY = pytest.mark.parametrize(("name", "network"), ON, scope="module")
"""Of a module's scope, so that all tests of one course come one after the other."""


def same(first: Any, second: Any) -> bool:
    """Whether two states hold the same numbers to the bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return bool(first == second)


@EVERY
def test_each_task_gets_its_stages_and_gives_an_output_of_its_width(name: str, network: str) -> None:
    toy = course(name, network).toy
    toy.model.eval()
    part = toy.model.part_of[TASKS[0]]
    found = toy.model.run(toy.images(0, 5), TASKS, part)
    assert {task: tuple(output.shape) for task, output in found.outputs.items()} == {
        task: (5, its.width) for task, its in toy.tasks.items()
    }
    for task, features in found.features.items():
        spec = toy.model.sharing.spec(task)
        assert features.vector.shape == (5, spec.width)
        assert list(features.stages) == [stage.name for stage in spec.stages]
        for stage in spec.stages:
            shape = features.stages[stage.name].shape
            assert len(shape) == {"map": 4, "sequence": 3, "vector": 2}[stage.kind]
            assert shape[2 if stage.kind == "sequence" else 1] == stage.channels


@EVERY
def test_everything_that_trains_has_had_a_gradient_within_ten_steps(name: str, network: str) -> None:
    found = course(name, network)
    trained = {n for n, p in found.toy.model.named_parameters() if p.requires_grad}
    assert trained - found.reached == set()


@EVERY
def test_a_task_alone_is_answered_as_among_all_others(name: str, network: str) -> None:
    toy = course(name, network).toy
    toy.model.eval()
    images = toy.images(0, 5)
    with torch.no_grad():
        for task, part in toy.model.part_of.items():
            together = toy.model(images, TASKS, part)[task]
            torch.testing.assert_close(toy.model(images, [task], part)[task], together)


@EVERY
def test_the_same_seed_gives_the_same_training_to_the_bit(name: str, network: str) -> None:
    again = start(name, network)
    again.steps(0, EARLY)
    assert same(again.state(), course(name, network).early)


@EVERY
def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_been_left(name: str, network: str, tmp_path: Path) -> None:
    found = course(name, network)
    store = Store(tmp_path)
    folder = store.save(LATE, Contents(found.late["model"], {"optimizer": found.late["optimizer"]}, {}, ""), best=False)
    later = start(name, network)
    later.model.load_state_dict(load_weights(folder))
    later.engine.optimizer.load_state_dict(load_training(folder, torch.device("cpu"))["optimizer"])
    later.steps(LATE, STEPS)
    assert same(later.state(), found.toy.state())


def shipped_of(toy: Toy, tasks: tuple[str, ...]) -> Shipped:
    """What `mtl export` makes of those tasks."""
    live = toy.live()
    return Shipped(needed(toy.model, tasks, toy.shape), toy.tasks, live.preparations, toy.shape).eval()


@EVERY
def test_what_is_shipped_answers_as_the_live_model_and_has_nothing_that_is_not_read(name: str, network: str) -> None:
    toy = course(name, network).toy
    for tasks in (TASKS, TASKS[1:2]):
        shipped = shipped_of(toy, tasks)
        judge(compare(toy.live(), shipped, shipped), 1e-5)
        with Reads() as reads:
            answers = shipped(shipped.given(shipped.example(2)))
        state = shipped.state_dict(keep_vars=True)
        assert [entry for entry, tensor in state.items() if tensor not in reads] == []
        behind = leaves(answers.values())
        assert [n for n, p in shipped.named_parameters() if p.requires_grad and id(p) not in behind] == []


FILES = [
    pytest.param(name, network, tasks, id=f"{name}-{network}-{len(tasks)}", marks=() if chosen else pytest.mark.slow)
    for name in SHARINGS
    for network in (*SMALL, "vit")
    for tasks in (TASKS, TASKS[1:2])
    for chosen in [(name, network, len(tasks)) == ("mmoe", "mlp", 1)]
]


@pytest.mark.parametrize(("name", "network", "tasks"), FILES)
def test_the_exported_file_answers_as_the_live_model_and_every_entry_of_it_is_read(
    name: str, network: str, tasks: tuple[str, ...], tmp_path: Path
) -> None:
    toy = course(name, network).toy
    shipped = shipped_of(toy, tasks)
    option = default(FORMATS, "pt2")
    written = FORMATS.target(option)(option, Recipe({"config": "{}"}, lambda _: shipped))
    file = tmp_path / "file.pt2"
    with quiet():
        written.write(shipped, metadata(shipped, {"step": STEPS}), file)
        judge(compare(toy.live(), shipped, written.load(file)), written.tolerance)
        program = torch.export.load(file)
    assert program.state_dict.keys() == shipped.state_dict().keys()
    read = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    signature = program.graph_signature
    entries = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    assert {entry: name for name, entry in entries.items() if name not in read} == {}
