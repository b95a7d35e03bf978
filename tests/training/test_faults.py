"""A loss or gradient that is not finite is named, and never reaches weights or state."""

import pytest
import torch
from torch import Tensor

from mtl_cli.contracts import slot
from mtl_cli.draws import seed_passes
from mtl_cli.look import Look
from mtl_cli.regularizers.base import Regularizer
from mtl_cli.regularizers.l2 import L2Regularizer
from mtl_cli.regularizers.options import L2
from mtl_cli.training.engine import Reason, Skipped
from mtl_cli.training.faults import Faults, finite, found, largest
from tests.training.toys import ROWS, Data, Toy, furthest, make, make_data, make_model, make_tasks

ALL = slice(0, ROWS)
METHODS = pytest.mark.parametrize(
    ("weighting", "aggregation"), [("fixed", "sum"), ("uw", "sum"), ("uw", "pcgrad"), ("fixed", "db")]
)


def bad_loss() -> Data:
    """A label of `size` is infinite, and so is its loss."""
    data = make_data()
    data.targets["size"][-1] = torch.inf
    return data


def bad_gradient(toy: Toy) -> Toy:
    """The loss of `odd` is finite, its gradient is not."""
    weight = next(p for n, p in toy.model.named_parameters() if slot("odd") in n)
    weight.register_hook(lambda gradient: gradient * torch.nan)
    return toy


def state(toy: Toy) -> dict[str, Tensor]:
    """All that a step may move."""
    methods = toy.engine.methods
    held = {
        "model": toy.model.state_dict(),
        "weighting": methods.weighting.state_dict(),
        "aggregation": methods.aggregation.state_dict(),
    }
    return {f"{kind}.{k}": v.clone() for kind, tensors in held.items() for k, v in tensors.items()}


@METHODS
@pytest.mark.parametrize("policy", ["stop", "skip_step"])
def test_a_step_with_a_loss_that_is_not_finite_names_the_task_and_moves_nothing(
    weighting: str, aggregation: str, policy: str
) -> None:
    tasks = make_tasks(make_data())
    toy = make(make_data(), weighting=weighting, aggregation=aggregation, tasks=tasks, on_nonfinite=policy)
    toy.engine.step([make_data().batch(ALL)], 0, 3)
    before = state(toy)
    told = toy.engine.step([bad_loss().batch(ALL)], 1, 3)
    assert told == Skipped(Reason.NOT_FINITE, Faults(losses=("size",)))
    assert furthest(before, state(toy)) == 0
    assert all(p.grad is None for p in toy.model.parameters())


@METHODS
def test_a_gradient_that_is_not_finite_of_a_finite_loss_is_named_too(weighting: str, aggregation: str) -> None:
    toy = bad_gradient(make(make_data(), weighting=weighting, aggregation=aggregation))
    before = state(toy)
    told = toy.engine.step([make_data().batch(ALL)], 0, 3)
    assert told == Skipped(Reason.NOT_FINITE, Faults(gradients=("odd",)))
    assert furthest(before, state(toy)) == 0


@METHODS
@pytest.mark.parametrize("cuts", [[ALL], [slice(0, 9), slice(9, ROWS)]], ids=["whole", "micro-batches"])
def test_a_task_left_out_is_as_one_without_labels(weighting: str, aggregation: str, cuts: list[slice]) -> None:
    tasks = make_tasks(make_data())
    told = {"weighting": weighting, "aggregation": aggregation, "tasks": tasks}
    broken, unlabelled = make(make_data(), on_nonfinite="skip_task", **told), make(make_data(), **told)
    without = make_data()
    without.targets["size"].fill_(torch.nan)
    for step in range(3):
        data = [bad_loss(), without] if step == 1 else [make_data(step), make_data(step)]
        look = broken.engine.step([data[0].batch(cut) for cut in cuts], step, 3)
        unlabelled.engine.step([data[1].batch(cut) for cut in cuts], step, 3)
        assert isinstance(look, Look)
        assert look.left_out == (("size",) if step == 1 else ())
    assert furthest(state(broken), state(unlabelled)) == 0


def test_several_faults_one_after_the_other_leave_those_tasks_out() -> None:
    toy = bad_gradient(make(make_data(), on_nonfinite="skip_task", tasks=make_tasks(make_data())))
    look = toy.engine.step([bad_loss().batch(ALL)], 0, 3)
    assert isinstance(look, Look)
    assert look.tasks == ("digit",)
    assert look.left_out == ("size", "odd")


def test_a_step_in_which_no_task_is_left_is_skipped_as_not_finite() -> None:
    toy = bad_gradient(make(make_data(), on_nonfinite="skip_task", tasks=make_tasks(make_data())))
    data = bad_loss()
    data.targets["digit"].fill_(-100)
    told = toy.engine.step([data.batch(ALL)], 0, 3)
    assert told == Skipped(Reason.NOT_FINITE, Faults(losses=("size",), gradients=("odd",)))


def test_under_float16_an_infinite_loss_is_no_overflow() -> None:
    toy = make(make_data(), tasks=make_tasks(make_data()), half=torch.float16)
    before = toy.engine.scale.state_dict()
    told = toy.engine.step([bad_loss().batch(ALL)], 0, 3)
    assert told == Skipped(Reason.NOT_FINITE, Faults(losses=("size",)))
    assert toy.engine.scale.state_dict() == before


def test_under_float16_the_tenth_overflow_in_a_row_is_named_and_left_out() -> None:
    toy = bad_gradient(make(make_data(), half=torch.float16, on_nonfinite="skip_task"))
    for step in range(9):
        told = toy.engine.step([make_data().batch(ALL)], step, 20)
        assert isinstance(told, Skipped)
        assert told.reason is Reason.OVERFLOW
    look = toy.engine.step([make_data().batch(ALL)], 9, 20)
    assert isinstance(look, Look)
    assert look.left_out == ("odd",)


@pytest.mark.parametrize("aggregation", ["sum", "pcgrad"])
def test_a_running_statistic_that_is_not_finite_is_not_kept(aggregation: str) -> None:
    tasks = make_tasks(make_data())
    model = make_model(tasks)
    model.sharing.register_buffer("mean", torch.zeros(5))
    model.sharing.register_forward_hook(_overflow)
    toy = make(make_data(), tasks=tasks, model=model, aggregation=aggregation)
    before = state(toy)
    assert toy.engine.step([make_data().batch(ALL)], 0, 3) == Skipped(Reason.NOT_FINITE, Faults())
    assert furthest(before, state(toy)) == 0


def _overflow(module: torch.nn.Module, *_: object) -> None:
    module.get_buffer("mean").fill_(torch.inf)


def test_faults_are_told_in_one_line() -> None:
    assert str(Faults(("a",), ("b",))) == "the loss of a and the gradient of b are not finite"
    assert str(Faults(("a",))) == "the loss of a is not finite"
    assert str(Faults()) == "the update is not finite"


def test_a_large_number_is_finite_and_a_nan_among_others_is_not() -> None:
    large = torch.full((3,), 3e38)
    assert finite([large, large.double(), torch.zeros(0)])
    assert not finite([large, torch.tensor([0.0, torch.nan])])
    assert not finite([torch.tensor([-torch.inf]), large])
    assert finite([])
    assert float(largest([torch.tensor([-3.0, 2.0]), torch.zeros(0)], torch.zeros(()))) == 3.0
    sizes, losses = torch.tensor([1.0, torch.inf, torch.nan]), torch.tensor([1.0, 2.0, torch.nan])
    assert found(("a", "b", "c"), losses, sizes) == Faults(("c",), ("b",))
    assert found(("a",), losses[:1], sizes[:1]) is None


@pytest.mark.parametrize("aggregation", ["sum", "pcgrad"])
def test_a_penalty_that_is_not_finite_never_reaches_weights(aggregation: str) -> None:
    regularizers: dict[str, Regularizer] = {"l2": L2Regularizer(L2(weight=1e308, parameters="all"))}
    toy = make(make_data(), aggregation=aggregation, regularizers=regularizers)
    with torch.no_grad():
        next(iter(toy.model.parameters())).fill_(100.0)
    before = state(toy)
    assert toy.engine.step([make_data().batch(ALL)], 0, 3) == Skipped(Reason.NOT_FINITE, Faults())
    assert furthest(before, state(toy)) == 0


def test_passes_draw_as_after_torch_s_own_seed() -> None:
    seed_passes(2**62 + 5, torch.device("cpu"))
    mine = torch.rand(4)
    torch.manual_seed(2**62 + 5)
    assert torch.equal(mine, torch.rand(4))
