"""Which layers rows may leave out, and that nothing else changes by it."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mtl_cli.gramian import summed
from mtl_cli.training import layer_gramian
from mtl_cli.training.engine import Reason, Skipped
from mtl_cli.training.faults import Faults
from mtl_cli.training.layer_gramian import Layers
from mtl_cli.training.layers import Size, find, pays
from mtl_cli.training.row_places import RowPlaces
from tests.training.test_every_pair import AGGREGATIONS_NEED, fits
from tests.training.toys import ROWS, SHARING, furthest, make, make_data, make_tasks

ALL = slice(0, ROWS)
ON_GRAMIANS = [
    name for name, needs in AGGREGATIONS_NEED.items() if needs.level == "gramian" and needs[1:3] == ("shared", 1)
]


class Case(NamedTuple):
    """A layer and the shape of what it is given."""

    name: str
    layer: Callable[[], nn.Module]
    shape: tuple[int, ...]


CASES = [
    Case("linear", lambda: nn.Linear(7, 4), (5, 7)),
    Case("linear without bias", lambda: nn.Linear(7, 4, bias=False), (5, 7)),
    Case("linear on sequences", lambda: nn.Linear(7, 4), (3, 6, 7)),
    Case("linear on sequences without bias", lambda: nn.Linear(7, 4, bias=False), (3, 6, 7)),
    Case("convolution", lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 5)),
    Case("1x1", lambda: nn.Conv2d(3, 4, 1, bias=False), (2, 3, 6, 5)),
    Case("stride", lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 3), padding=(1, 0)), (2, 3, 7, 9)),
    Case("dilation", lambda: nn.Conv2d(3, 4, 3, dilation=(2, 1), padding=2, bias=False), (2, 3, 6, 5)),
    Case("groups", lambda: nn.Conv2d(6, 4, 3, groups=2, stride=2), (2, 6, 7, 7)),
    Case("depthwise", lambda: nn.Conv2d(6, 6, 3, groups=6, padding="same"), (2, 6, 5, 5)),
    Case("mirrored edges", lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (2, 3, 6, 5)),
]


def losses_of(layer: nn.Module, inputs: Tensor, tasks: int) -> dict[str, Tensor]:
    """Each task's own weights on what the layer puts out; a rectifier writes over that."""
    outputs = functional.relu(layer(inputs), inplace=True)
    return {f"task{t}": (outputs * torch.randn_like(outputs)).mean() for t in range(tasks)}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kind", "far"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_layers_gramian_and_sums_are_those_of_its_rows(
    case: Case, kind: torch.dtype, far: float, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer, inputs, tasks = case.layer().to(kind), torch.randn(case.shape, dtype=kind), 4
    if len(case.shape) == 4:
        layer, inputs = layer.to(memory_format=layout), inputs.to(memory_format=layout)
    losses = losses_of(layer, inputs.requires_grad_(), tasks)
    parameters = dict(layer.named_parameters())
    (found,) = find(losses.values(), parameters)
    held, every = Layers([found], tasks), frozenset(parameters)
    assert held.names == every
    rows = []
    for t, loss in enumerate(losses.values()):
        held.put(t, every, torch.autograd.grad(loss, held.edges(every), retain_graph=True))
        parts = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
        rows.append(torch.cat([part.flatten() for part in parts]).double())
    rows_TP, factors_T = torch.stack(rows), torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
    expected_TT, norms_T = rows_TP @ rows_TP.T, rows_TP.norm(dim=1)
    apart_TT = (summed(held.products()) - expected_TT) / torch.outer(norms_T, norms_T)
    assert apart_TT.abs().max() < far
    combined = held.combined(factors_T)
    sum_P = torch.cat([combined[name].flatten() for name in parameters]).double()
    assert (sum_P - factors_T @ rows_TP).norm() < far * norms_T.sum()


def test_a_task_that_does_not_reach_a_layer_has_zeros_there() -> None:
    layer, inputs = nn.Linear(7, 4).double(), torch.randn(5, 7, dtype=torch.float64)
    losses = losses_of(layer, inputs, 2)
    held = Layers(find(losses.values(), dict(layer.named_parameters())), 3)
    held.put(1, frozenset({"weight"}), torch.autograd.grad(losses["task1"], held.edges(frozenset({"weight"}))))
    assert held.edges(frozenset({"another"})) == []
    assert (summed(held.products()) != 0).nonzero().tolist() == [[1, 1]]


class Twice(nn.Module):
    """One layer on two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 7)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(self.layer(inputs))  # type: ignore[no-any-return]  # a module's call is untyped


class Scaled(nn.Module):
    """A weight that is computed from a parameter, and a bias that another layer has too."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(7, 7)), nn.Parameter(torch.randn(7))

    def forward(self, inputs: Tensor) -> Tensor:
        first = functional.linear(inputs, 2 * self.weight, self.bias)
        return functional.linear(first, torch.eye(7).requires_grad_(), self.bias)


def hooked() -> nn.Module:
    layer = nn.Linear(7, 4)
    layer.weight.register_hook(lambda gradient: 2 * gradient)
    return layer


def spoiled(outputs: Tensor) -> Tensor:
    """The same, with a gradient that is not finite."""
    outputs.register_hook(lambda gradient: gradient * torch.nan)
    return outputs


def frozen() -> nn.Module:
    layer = nn.Linear(7, 4)
    layer.weight.requires_grad_(False)
    return layer


class Again(nn.Module):
    """A layer whose inputs are computed again in the backward pass."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.passes = layer, 0

    def forward(self, inputs: Tensor) -> Tensor:
        return checkpoint(self._run, inputs, use_reentrant=False)  # type: ignore[no-any-return]  # untyped

    def _run(self, inputs: Tensor) -> Tensor:
        self.passes += 1
        return self.layer(inputs)  # type: ignore[no-any-return]  # a module's call is untyped


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Linear(7, 4), (5, 7)), (nn.Linear(7, 4, bias=False), (5, 7)), (nn.Conv2d(3, 4, 3), (2, 3, 6, 5))],
)
def test_a_checkpointed_layer_stays_in_the_rows_and_is_not_run_again_for_it(
    layer: nn.Module, shape: tuple[int, ...]
) -> None:
    made = Again(layer)
    losses = losses_of(made, torch.randn(shape).requires_grad_(), 2)
    assert find(losses.values(), dict(made.named_parameters())) == []
    assert made.passes == 1


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Twice, (5, 7)),
        (Scaled, (5, 7)),
        (hooked, (5, 7)),
        (frozen, (5, 7)),
        (lambda: nn.ConvTranspose2d(3, 4, 3), (2, 3, 6, 5)),
        (lambda: nn.Conv1d(3, 4, 3), (2, 3, 6)),
        (lambda: nn.GroupNorm(1, 3), (2, 3, 6, 5)),
    ],
)
def test_what_is_no_layer_used_once_stays_in_the_rows(layer: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    made = layer()
    assert find(losses_of(made, torch.randn(shape), 2).values(), dict(made.named_parameters())) == []


def test_under_autocast_nothing_is_left_out() -> None:
    layer = nn.Linear(7, 4)
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(layer, torch.randn(5, 7), 2)
    assert find(losses.values(), dict(layer.named_parameters())) == []


def test_wide_layers_on_few_positions_pay_and_those_of_many_do_not() -> None:
    late, early = Size(128, 4608, 512), Size(8192, 576, 64)
    assert pays(late, 10)
    assert not pays(early, 10)
    assert not pays(Size(2048, 1152, 128), 40)
    assert not pays(Size(128, 9, 1, groups=512), 10)


def test_it_never_holds_more_numbers_than_rows_would() -> None:
    sizes = [Size(n, i, o) for n in (1, 16, 256, 4096) for i in (8, 128, 2048) for o in (8, 512)]
    for size in sizes:
        if pays(size, 10):
            assert 10 * size.positions * size.fan_out + size.positions**2 <= 10 * size.fan_in * size.fan_out


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys' layers are too small to pay."""
    monkeypatch.setattr(layer_gramian, "pays", lambda size, tasks: True)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("aggregation", ON_GRAMIANS)
def test_steps_without_rows_are_those_with(aggregation: str) -> None:
    _same_steps("hard", aggregation)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("sharing", [name for name in SHARING if fits(name, "fixed", "upgrad")])
def test_under_every_sharing_steps_without_rows_are_those_with(sharing: str) -> None:
    _same_steps(sharing, "upgrad")


def _same_steps(sharing: str, aggregation: str) -> None:
    data = make_data()
    toys = [make(data, sharing=sharing, aggregation=aggregation) for _ in range(2)]
    toys[0].engine.by_task.layered = False
    looks = [[toy.step([data.batch(rows)], n, data) for n, rows in enumerate((ALL, slice(0, 9)))] for toy in toys]
    assert not toys[0].engine.by_task.left_out
    assert furthest(toys[0].parameters(), toys[1].parameters()) < 1e-12
    for first, second in zip(*looks, strict=True):
        assert (first.norms() - second.norms()).abs().max() < 1e-12
        seen = first.seen(), second.seen()
        assert seen[0] is not None
        assert seen[1] is not None
        assert seen[0][0] == seen[1][0]
        assert (seen[0][1] - seen[1][1]).abs().max() < 1e-12


@pytest.mark.usefixtures("always")
def test_rows_hold_no_more_than_what_layers_do_not() -> None:
    data = make_data()
    toy = make(data, aggregation="upgrad")
    toy.step([data.batch(ALL)], 0)
    assert toy.engine.by_task.left_out == set(toy.engine.usage.shared)


@pytest.mark.usefixtures("always")
def test_no_memory_is_taken_for_rows_of_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, take = [], RowPlaces.take

    def watched(memory: RowPlaces, piece: int, tasks: int, width: int, like: Tensor) -> Tensor:
        taken.append(width)
        return take(memory, piece, tasks, width, like)

    monkeypatch.setattr(RowPlaces, "take", watched)
    data = make_data()
    toy = make(data, aggregation="upgrad")
    for step in range(2):
        toy.step([data.batch(ALL)], step)
    assert taken == [0, 0]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("aggregation", ["db", "modo", "sdmgrad"])
def test_who_asks_for_rows_or_for_independent_batches_gets_them(aggregation: str) -> None:
    data = make_data()
    toy = make(data, aggregation=aggregation)
    toy.step([data.batch(ALL)], 0)
    assert not toy.engine.by_task.left_out


@pytest.mark.usefixtures("always")
def test_under_accumulation_rows_are_taken() -> None:
    data = make_data()
    toy = make(data, aggregation="upgrad")
    toy.step([data.batch(slice(0, 12)), data.batch(slice(12, ROWS))], 0)
    assert not toy.engine.by_task.left_out


@pytest.mark.usefixtures("always")
def test_a_gradient_that_is_not_finite_is_named_without_rows() -> None:
    data = make_data()
    toy = make(data, aggregation="upgrad", tasks=make_tasks(data), on_nonfinite="skip_step")
    toy.model.heads["task:odd"].register_forward_hook(lambda *told: spoiled(told[-1]))
    told = toy.engine.step([data.batch(ALL)], 0, 3)
    assert told == Skipped(Reason.NOT_FINITE, Faults(gradients=("odd",)))
