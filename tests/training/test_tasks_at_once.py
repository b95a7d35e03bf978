"""The rows of all tasks by one batched backward pass: nothing else changes by it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.aggregation.base import Aggregation
from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.backbones.cnn import CnnBackbone
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.beneath import CONF, packaged
from mtl_cli.contracts import Column
from mtl_cli.data.base import MISSING, Batch, InputSpec
from mtl_cli.look import Look
from mtl_cli.model import MultiTaskModel
from mtl_cli.processes import Processes
from mtl_cli.sharing.hard import HardSharing
from mtl_cli.sharing.options import Hard
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.heads import batched as heads_of_one_shape
from mtl_cli.tasks.options import Linear
from mtl_cli.training import gradients, layer_gramian
from mtl_cli.training.average import Average
from mtl_cli.training.choices import choices
from mtl_cli.training.engine import Engine, Reason, Skipped
from mtl_cli.training.faults import Faults
from mtl_cli.training.options import TrainerOptions
from mtl_cli.training.probing import Choice, Probes
from mtl_cli.training.row_places import write
from mtl_cli.training.tasks_at_once import Begun
from tests.training.test_engine import AtLastStage, AtTrunk, Penalised
from tests.training.test_every_pair import fits
from tests.training.test_layers import spoiled
from tests.training.toys import ROWS, SHARING, Data, Toy, furthest, make, make_data, make_model, make_tasks

ALL = slice(0, ROWS)
CUTS = [slice(0, 7), slice(7, ROWS)]


@pytest.fixture
def batched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks each batched pass was for."""
    seen: list[int] = []
    over_shared = gradients.over_shared

    def watched(begun: Begun, sought: Sequence[Any]) -> Sequence[Tensor | None]:
        seen.append(len(begun.given[0]))
        return over_shared(begun, sought)

    monkeypatch.setattr(gradients, "over_shared", watched)
    return seen


def pair(data: Data, model: MultiTaskModel | None = None, **told: Any) -> tuple[Toy, Toy]:
    """Two alike, of which the second takes tasks together."""
    apart, together = (make(data, model=copy.deepcopy(model), **told) for _ in range(2))
    together.engine.by_task.together = True
    return apart, together


def same(pair: tuple[Toy, Toy], steps: Sequence[list[Batch]]) -> None:
    """Steps, looks and running statistics are the same."""
    apart, together = pair
    for number, batches in enumerate(steps):
        first, second = (toy.step(batches, number) for toy in (apart, together))
        assert first.tasks == second.tasks
        assert (first.losses_T - second.losses_T).abs().max() < 1e-9
        seen = first.seen(), second.seen()
        assert (seen[0] is None) == (seen[1] is None)
        if seen[0] is not None and seen[1] is not None:
            assert (seen[0][1] - seen[1][1]).abs().max() < 1e-9
    assert furthest(apart.parameters(), together.parameters()) < 1e-9
    buffers = zip(apart.model.buffers(), together.model.buffers(), strict=True)
    assert all(torch.allclose(first.double(), second.double(), rtol=0, atol=1e-9) for first, second in buffers)


def without(batch: Batch, task: str) -> Batch:
    """No labels of that one."""
    (part,) = batch.parts
    target = part.targets[task]
    target = torch.full_like(target, torch.nan if target.is_floating_point() else MISSING)
    return Batch([part._replace(targets={**part.targets, task: target}, labelled={**part.labelled, task: 0})])


SHARED = [(s, a) for s in SHARING for a in ("upgrad", "db") if fits(s, "fixed", a)]


@pytest.mark.parametrize(("sharing", "aggregation"), [*SHARED, ("hard", "excess_mtl"), ("hard", "modo")])
def test_steps_are_those_of_a_pass_a_task(sharing: str, aggregation: str, batched: list[int]) -> None:
    data = make_data()
    whole = data.batch(ALL)
    same(
        pair(data, sharing=sharing, aggregation=aggregation),
        [[whole], [data.batch(rows) for rows in CUTS], [without(whole, "odd")]],
    )
    assert set(batched) == {2, 3}


@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
@pytest.mark.parametrize("aggregation", ["upgrad", "db"])
def test_a_task_that_not_all_micro_batches_have_gets_its_row(sharing: str, aggregation: str) -> None:
    data = make_data()
    micro = [data.batch(rows) for rows in (*CUTS, slice(3, 9))]
    del micro[0].parts[0].targets["odd"]
    same(pair(data, sharing=sharing, aggregation=aggregation), [micro])


def test_a_pass_of_one_task_is_not_batched(batched: list[int]) -> None:
    data = make_data()
    (part,) = data.batch(ALL).parts
    alone = [part._replace(targets={name: target}) for name, target in part.targets.items()]
    same(pair(data, aggregation="upgrad"), [[Batch(alone)]])
    assert batched == []


def test_several_parts_of_one_pass_are_not_batched(batched: list[int]) -> None:
    data, tasks = make_data(), make_tasks(make_data())
    (part,) = data.batch(ALL).parts
    targets = [{name: part.targets[name] for name in names} for names in (("digit", "odd"), ("size",))]
    both = Batch([part._replace(targets=its) for its in targets])
    same(pair(data, make_model(tasks, wrap=Penalised), tasks=tasks, aggregation="upgrad"), [[both]])
    assert batched == []


def test_a_penalty_on_features_is_added_as_before(batched: list[int]) -> None:
    data, tasks = make_data(), make_tasks(make_data())
    same(pair(data, make_model(tasks, wrap=Penalised), tasks=tasks, aggregation="upgrad"), [[data.batch(ALL)]])
    assert batched == [3]


@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
def test_the_scale_of_float16_is_undone(sharing: str, batched: list[int]) -> None:
    data = make_data()
    same(pair(data, sharing=sharing, aggregation="upgrad", half=torch.float16), [[data.batch(ALL)]])
    assert batched == [3]


def test_a_learned_weighting_under_accumulation_goes_together_too(batched: list[int]) -> None:
    data = make_data()
    same(pair(data, weighting="uw"), [[data.batch(rows) for rows in CUTS]])
    assert batched == [3, 3]


@pytest.mark.parametrize("aggregation", [AtTrunk(), AtLastStage()], ids=["trunk", "last stage"])
def test_who_looks_at_a_cheaper_place_gets_a_pass_a_task(aggregation: Aggregation, batched: list[int]) -> None:
    data = make_data()
    same(pair(data, aggregation=aggregation), [[data.batch(ALL)]])
    same(pair(data, weighting="uw", aggregation=aggregation), [[data.batch(rows) for rows in CUTS]])
    assert batched == []


def maps(norm: str, split_at: str | None, tasks: dict[str, Task]) -> MultiTaskModel:
    """A network of convolutions whose trunk may end early."""
    torch.manual_seed(1)
    fields = {"channels": 4, "depth": 2, "norm": norm}
    factory = BackboneFactory(CnnBackbone(packaged(BACKBONES, "cnn", fields), InputSpec((2, 8, 8))).double())
    sharing = HardSharing(Hard(split_at=split_at), factory, {name: task.width for name, task in tasks.items()})
    heads = {n: LinearHead(Linear(at=None), sharing.spec(n), t.width, n).double() for n, t in tasks.items()}
    return MultiTaskModel(sharing, heads, dict.fromkeys(tasks, "p"), per_part=True)


def of_maps(seed: int) -> Data:
    """Images (B, 2, 8, 8) in place of numbers."""
    data = make_data(seed)
    inputs = torch.randn(ROWS, 2, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Data(inputs, data.targets)


@pytest.mark.parametrize("aggregation", ["upgrad", "db"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("split_at", [None, "stage1"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_so_it_is_with_convolutions_and_where_the_trunk_ends_early(
    norm: str, split_at: str | None, layout: torch.memory_format, aggregation: str, batched: list[int]
) -> None:
    data, tasks = of_maps(0), make_tasks(make_data())
    model = maps(norm, split_at, tasks).to(memory_format=layout)
    toys = pair(data, model, tasks=tasks, aggregation=aggregation)
    whole = data.batch(ALL)
    same(toys, [[whole], [data.batch(rows) for rows in CUTS], [without(whole, "size")]])
    assert toys[1].engine.usage.bottleneck
    assert set(batched) == {2, 3}


@pytest.mark.parametrize("sharing", ["hard", "mmoe", "cross_stitch"])
def test_layers_are_left_out_of_batched_rows_too(
    sharing: str, batched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_gramian, "pays", lambda size, tasks: True)
    data = make_data()
    toys = pair(data, sharing=sharing, aggregation="upgrad")
    toys[0].engine.by_task.layered = False
    same(toys, [[data.batch(ALL)], [without(data.batch(ALL), "odd")]])
    assert toys[1].engine.by_task.left_out
    assert batched == [3, 2]


def test_convolutions_are_left_out_too(batched: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_gramian, "pays", lambda size, tasks: True)
    data, tasks = of_maps(0), make_tasks(make_data())
    toys = pair(data, maps("batch", None, tasks), tasks=tasks, aggregation="upgrad")
    toys[0].engine.by_task.layered = False
    same(toys, [[data.batch(ALL)]])
    assert len(toys[1].engine.by_task.left_out) > 2
    assert batched == [3]


def test_the_heads_are_gone_through_once_by_one_pass_and_the_trunk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(gradients, "from_trunk")  # a pass a task
    data = make_data()
    _, toy = pair(data, aggregation="upgrad")
    passed: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: output.register_hook(lambda _gradient: passed.append(name)) and None

    for task, head in toy.model.heads_by_task().items():
        head.register_forward_hook(watch(task))
    next(iter(toy.model.sharing.get_submodule("backbone.stages").children())).register_forward_hook(watch("trunk"))
    toy.step([data.batch(ALL)], 0)
    assert sorted(passed) == ["digit", "odd", "size", "trunk"]


@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
@pytest.mark.parametrize("aggregation", ["upgrad", "db"])
def test_the_task_whose_gradient_is_not_finite_is_named_and_no_other(
    sharing: str, aggregation: str, batched: list[int]
) -> None:
    data = make_data()
    _, toy = pair(data, sharing=sharing, aggregation=aggregation, on_nonfinite="skip_step")
    toy.model.heads["task:odd"].register_forward_hook(lambda *told: spoiled(told[-1]))
    told = toy.engine.step([data.batch(ALL)], 0, 3)
    assert told == Skipped(Reason.NOT_FINITE, Faults(gradients=("odd",)))
    assert batched == [3]


def reading(stage: int, tasks: dict[str, Task]) -> MultiTaskModel:
    """Hard sharing in which the head of odd reads that stage."""
    model = make_model(tasks)
    spec = model.sharing.spec("odd")
    option = Linear(at=spec.stages[stage].name)
    model.heads["task:odd"] = LinearHead(option, spec, tasks["odd"].width, "head").double()
    return model


def test_a_head_that_reads_the_trunks_tensor_as_a_stage_has_its_row(batched: list[int]) -> None:
    data, tasks = make_data(), make_tasks(make_data())
    model = reading(-1, tasks)
    features = model.run(data.inputs, ["odd"], "p").features["odd"]
    assert any(stage is features.trunk for stage in features.stages.values())
    same(pair(data, model, tasks=tasks, aggregation="db"), [[data.batch(ALL)]])
    assert batched == [3]


def test_so_has_one_that_reads_what_lies_before_the_trunks_tensor(batched: list[int]) -> None:
    data, tasks = make_data(), make_tasks(make_data())
    toys = pair(data, reading(0, tasks), tasks=tasks, aggregation="db")
    same(toys, [[data.batch(ALL)]])
    assert not toys[1].engine.usage.bottleneck
    assert batched == [3]


class Bent(HardSharing):
    """All tasks read the same function of the trunk's tensor."""

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        features = self.backbone(inputs)
        return dict.fromkeys(tasks, features._replace(vector=features.vector.exp()))


def test_tasks_may_share_operations_behind_the_trunks_tensor(batched: list[int]) -> None:
    data, tasks = make_data(), make_tasks(make_data())
    toys = pair(data, make_model(tasks, wrap=Bent), tasks=tasks, aggregation="db")
    same(toys, [[data.batch(ALL)]])
    assert toys[1].engine.usage.bottleneck
    assert batched == [3]


@pytest.mark.usefixtures("batched")
def test_tasks_that_reach_nothing_shared_have_rows_of_zeros() -> None:
    data, tasks = make_data(), make_tasks(make_data())
    toys = pair(data, sharing="tree", tasks=tasks, aggregation="db")
    for toy in toys:  # as of a tree in which others share what these do not
        usage = toy.engine.usage
        for task in ("odd", "size"):
            usage.of[task] = usage.of[task] - set(usage.shared)
    same(toys, [[without(data.batch(ALL), "digit")]])


def test_what_no_task_reaches_is_zero_in_rows_that_are_written_and_unchanged_in_those_begun() -> None:
    places = [Column("a", 0, torch.Size([1, 2])), Column("b", 2, torch.Size([1]))]
    found = {"a": torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])}
    rows_TP = torch.full((2, 3), 7.0)
    write(rows_TP, [0, 1], (), places, found)
    assert rows_TP.tolist() == [[1, 2, 0], [3, 4, 0]]
    rows_TP = torch.full((3, 3), 7.0)
    write(rows_TP, [2, 0], {0}, places, found)
    assert rows_TP.tolist() == [[10, 11, 7], [7, 7, 7], [1, 2, 0]]


class NotBatched(torch.autograd.Function):
    """An operation whose gradient looks at numbers, which a batched pass cannot."""

    @staticmethod
    def forward(_context: Any, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # torch's takes anything
        return torch.from_numpy(gradient.numpy().copy())


def offered(toy: Toy, **trainer: Any) -> list[str]:
    """The names of the choices of a run."""
    return [choice.name for choice in _choices(toy, **trainer)]


def _choices(toy: Toy, **trainer: Any) -> list[Choice]:
    fields = yaml.safe_load((CONF / "trainer" / "default.yaml").read_text()) | trainer
    return choices(msgspec.convert(fields, TrainerOptions), toy.engine, Average(toy.model, None), lambda: 100)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if steps were taken on a GPU."""
    monkeypatch.setattr(Engine, "device", torch.device("cuda"))


def test_on_a_processor_it_is_not_tried() -> None:
    assert offered(make(make_data(), aggregation="upgrad")) == ["gramian"]


@pytest.mark.usefixtures("device")
def test_on_a_device_it_is_tried_before_where_gramians_come_from() -> None:
    toy = make(make_data(), aggregation="upgrad")
    assert offered(toy) == ["tasks", "gramian"]
    assert offered(toy, deterministic=True) == []
    choice = _choices(toy)[0]
    for candidate in choice.candidates:
        choice.apply(candidate)
        assert toy.engine.by_task.together == (candidate == "together")


@pytest.mark.usefixtures("device")
def test_nor_is_it_tried_where_no_method_looks_at_gradients_over_what_is_shared() -> None:
    data = make_data()
    toys = [make(data), make(data, aggregation=AtTrunk()), make(data, sharing="soft", aggregation="db")]
    assert [offered(toy) for toy in toys] == [[], [], []]
    assert offered(make(data, aggregation="db")) == ["tasks"]


@pytest.mark.usefixtures("device")
def test_nor_where_each_task_has_a_part_of_its_own() -> None:
    data, tasks = make_data(), make_tasks(make_data())
    model = make_model(tasks)
    model.part_of = {task: task for task in tasks}
    toy = make(data, model=model, tasks=tasks, aggregation="db", examples=dict.fromkeys(tasks, data.inputs[:2]))
    assert "tasks" not in offered(toy)


@pytest.mark.usefixtures("device")
def test_where_an_operation_has_no_batched_form_the_run_goes_on_with_a_pass_a_task() -> None:
    data, told = make_data(), list[str]()
    plain, tried = (make(data, aggregation="upgrad") for _ in range(2))
    for toy in (plain, tried):
        first = next(iter(toy.model.sharing.get_submodule("backbone.stages").children()))
        first.register_forward_hook(lambda *passed: NotBatched.apply(passed[-1]))
    choice = _choices(tried)[0]
    probes = Probes([choice], told.append, Processes())
    for number in range(3):
        batches = [data.batch(ALL)]
        plain.step(batches, number)
        if probes.settled:
            tried.step(batches, number)
        else:
            assert isinstance(probes.timed(batches, lambda n=number, b=batches: tried.step(b, n)), Look)
    assert probes.decided == {"tasks": "apart"}
    assert told[0].startswith("passes of the tasks: apart, as together does not work here (")
    assert furthest(plain.parameters(), tried.parameters()) == 0


@pytest.mark.usefixtures("device")
def test_compiled_passes_keep_a_pass_a_task_whatever_was_decided(batched: list[int]) -> None:
    toy, data = make(make_data(), aggregation="upgrad"), make_data()
    toy.model.compile_training()
    assert "tasks" not in offered(toy)
    toy.engine.by_task.together = True
    toy.model._compiled = toy.model._in_training = toy.model._features  # compiled, as far as anybody can tell
    toy.step([data.batch(ALL)], 0)
    assert not batched


def test_heads_of_one_shape_are_one_product_and_others_are_not() -> None:
    torch.manual_seed(0)
    heads = [LinearHead(Linear(at=None), Spec(5, ()), width, "x").double() for width in (3, 3, 2)]
    view_TBD = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    outputs = heads_of_one_shape(heads[:2], view_TBD)
    assert outputs is not None
    each = [head.layers(vector) for head, vector in zip(heads, view_TBD, strict=False)]
    torch.testing.assert_close(outputs, torch.stack(each))
    parameters = [p for head in heads[:2] for p in head.parameters()]
    ours, theirs = (
        torch.autograd.grad((found * torch.arange(3.0)).sum(), [view_TBD, *parameters])
        for found in (outputs, torch.stack(each))
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    assert heads_of_one_shape(heads, torch.randn(3, 4, 5, dtype=torch.float64)) is None


def test_tasks_with_heads_of_one_shape_go_together_to_the_same_step(batched: list[int]) -> None:
    data = make_data()
    tasks = make_tasks(data)
    data.targets["other"] = data.targets["digit"].flip(0)
    del data.targets["odd"], data.targets["size"]
    alike = {"digit": tasks["digit"], "other": copy.deepcopy(tasks["digit"])}
    same(pair(data, make_model(alike), tasks=alike, aggregation="upgrad"), [[data.batch(ALL)], [data.batch(CUTS[0])]])
    assert batched == [2, 2]


def test_two_parameters_with_one_gradient_are_clipped_once_each() -> None:
    class Twice(LinearHead):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.more = torch.nn.Parameter(torch.zeros_like(self.layers.bias))

        def forward(self, features: Any) -> Tensor:
            return functional.linear(self.reader(features), self.layers.weight, self.layers.bias + self.more)

    data = make_data()
    tasks = make_tasks(data)
    model = make_model(tasks)
    model.heads["task:digit"] = Twice(Linear(at=None), model.sharing.spec("digit"), 4, "x").double()
    toy = make(data, model=model, tasks=tasks, aggregation="upgrad", clip=1e-3, lr=1.0)
    before = toy.parameters()
    toy.step([data.batch(ALL)], 0)
    moved = torch.cat([(toy.parameters()[name] - p).flatten() for name, p in before.items()])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-5)
