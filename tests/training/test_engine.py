"""Steps: the losses, coefficients, rows and updates that methods are promised."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_cli.aggregation.base import Aggregation, WeightedAggregation
from mtl_cli.contracts import Needs, slot
from mtl_cli.look import Look
from mtl_cli.options import ConfigError
from mtl_cli.regularizers.l1 import L1Regularizer
from mtl_cli.regularizers.l2 import L2Regularizer
from mtl_cli.regularizers.options import L1, L2
from mtl_cli.sharing.hard import HardSharing
from mtl_cli.training.engine import Engine, Reason, Settings, Skipped
from mtl_cli.training.faults import Faults
from mtl_cli.weighting.fixed import FixedWeighting
from mtl_cli.weighting.options import Fixed
from tests.training.toys import (
    AGGREGATION,
    ROWS,
    Toy,
    facts,
    furthest,
    make,
    make_data,
    make_model,
    make_tasks,
)

ALL = slice(0, ROWS)


def plain_losses(toy: Toy, batch_rows: slice = ALL, seed: int = 0) -> dict[str, Tensor]:
    """Each task's mean loss over its labelled rows, by torch's own functions."""
    data = make_data(seed)
    inputs, targets = data.inputs[batch_rows], {n: t[batch_rows] for n, t in data.targets.items()}
    outputs = toy.model(inputs, list(targets), "p")
    odd, size, task = targets["odd"], targets["size"], toy.tasks["size"]
    has_odd, has_size = ~odd.isnan(), ~size.isnan()
    standard = (size - task.fitted.mean) / task.fitted.std
    return {
        "digit": functional.cross_entropy(outputs["digit"], targets["digit"], ignore_index=-100),
        "odd": functional.binary_cross_entropy_with_logits(outputs["odd"][has_odd, 0], odd[has_odd]),
        "size": functional.mse_loss(outputs["size"][has_size, 0], standard[has_size]),
    }


def gradients(toy: Toy) -> dict[str, Tensor | None]:
    """What the last step left on the parameters."""
    return {name: p.grad for name, p in toy.model.named_parameters()}


def is_not_finite(told: Look | Skipped) -> bool:
    return isinstance(told, Skipped) and told.reason is Reason.NOT_FINITE


def test_a_plain_step_has_the_gradient_of_the_weighted_sum_of_mean_losses() -> None:
    data = make_data()
    toy = make(data, tasks=make_tasks(data, digit=0.3, odd=2.0))
    losses = plain_losses(toy)
    total = 0.3 * losses["digit"] + 2.0 * losses["odd"] + losses["size"]
    expected = torch.autograd.grad(total, list(toy.model.parameters()))
    look = toy.engine.step([data.batch(ALL)], 0, 1)
    assert isinstance(look, Look)
    torch.testing.assert_close(look.losses_T, torch.stack(list(losses.values())).detach())
    for found, wanted in zip(gradients(toy).values(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7)


class Spy(WeightedAggregation):
    """Keeps what it was shown and answers with given weights."""

    needs = Needs(level="rows")
    given = (1.0, 2.0, 0.5)

    def weights(self, look: Look) -> Tensor:
        self.seen_rows = look.rows()
        self.seen_gramian = look.gramian()
        self.columns = look.columns
        return torch.tensor(self.given[: len(look.tasks)], dtype=torch.float64)


def test_rows_are_each_tasks_gradient_over_the_shared_parameters_scaled_by_its_coefficient() -> None:
    data = make_data()
    spy = Spy()
    toy = make(data, aggregation=spy, tasks=make_tasks(data, digit=0.3))
    shared = dict(toy.model.sharing.named_parameters(prefix="sharing"))
    rows = []
    for loss, weight in zip(plain_losses(toy).values(), (0.3, 1.0, 1.0), strict=True):
        found = torch.autograd.grad(loss, list(shared.values()), retain_graph=True)
        rows.append(weight * torch.cat([g.flatten() for g in found]))
    expected = torch.stack(rows)
    toy.engine.step([data.batch(ALL)], 0, 1)
    assert [column.name for column in spy.columns] == list(shared)
    torch.testing.assert_close(spy.seen_rows, expected, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(spy.seen_gramian, expected @ expected.T, rtol=1e-7, atol=1e-9)


def test_shared_parameters_get_the_combination_and_task_parameters_their_own_gradient() -> None:
    data = make_data()
    toy = make(data, aggregation=Spy(), tasks=make_tasks(data, digit=0.3))
    losses = plain_losses(toy)
    combined = 0.3 * losses["digit"] + 2 * losses["odd"] + 0.5 * losses["size"]
    shared = dict(toy.model.sharing.named_parameters(prefix="sharing"))
    expected = dict(zip(shared, torch.autograd.grad(combined, list(shared.values()), retain_graph=True), strict=True))
    for (task, loss), weight in zip(losses.items(), (0.3, 1.0, 1.0), strict=True):
        head = dict(toy.model.heads[slot(task)].named_parameters(prefix=f"heads.{slot(task)}"))
        found = torch.autograd.grad(weight * loss, list(head.values()), retain_graph=True)
        expected |= dict(zip(head, found, strict=True))
    toy.engine.step([data.batch(ALL)], 0, 1)
    for name, gradient in gradients(toy).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-6, atol=1e-9)


def test_a_step_without_any_label_moves_nothing() -> None:
    data = make_data()
    for target in data.targets.values():
        target.fill_(torch.nan if target.is_floating_point() else -100)
    toy = make(data, weighting="uw", aggregation="db", tasks=make_tasks(make_data()))
    before = toy.parameters()
    assert toy.engine.step([data.batch(ALL)], 0, 1) == Skipped(Reason.UNLABELLED, Faults())
    assert furthest(before, toy.parameters()) == 0


@pytest.mark.parametrize("aggregation", ["sum", "pcgrad", "db"])
def test_a_gradient_that_is_not_finite_skips_the_step_and_moves_no_state(aggregation: str) -> None:
    data = make_data()
    toy = make(data, weighting="uw", aggregation=aggregation)
    toy.engine.step([data.batch(ALL)], 0, 3)
    before, state = toy.parameters(), {k: v.clone() for k, v in toy.engine.methods.aggregation.state_dict().items()}
    broken = make_data()
    broken.inputs[20, 0] = torch.inf
    assert is_not_finite(toy.engine.step([broken.batch(ALL)], 1, 3))
    assert furthest(before, toy.parameters()) == 0
    after = toy.engine.methods.aggregation.state_dict()
    assert state.keys() == after.keys()
    assert all(torch.equal(state[key], after[key]) for key in state)


def test_regularizers_reach_only_what_the_active_tasks_use() -> None:
    data = make_data()
    data.targets["odd"].fill_(torch.nan)
    tasks = make_tasks(make_data())
    penalties = {
        "l1": L1Regularizer(L1(weight=0.1, parameters="shared")),
        "l2": L2Regularizer(L2(weight=0.2, parameters="task")),
    }
    plain, held = make(data, tasks=tasks), make(data, tasks=tasks, regularizers=penalties)
    parameters = dict(held.model.named_parameters())
    expected = {}
    plain.engine.step([data.batch(ALL)], 0, 1)
    for name, gradient in gradients(plain).items():
        if name in held.engine.usage.shared:
            expected[name] = gradient + 0.1 * parameters[name].detach().sign()
        elif gradient is not None:
            expected[name] = gradient + 0.2 * parameters[name].detach()
    look = held.engine.step([data.batch(ALL)], 0, 1)
    assert isinstance(look, Look)
    assert set(look.penalties) == {"l1", "l2"}
    for name, gradient in gradients(held).items():
        if name not in expected:
            assert gradient is None
        else:
            torch.testing.assert_close(gradient, expected[name])


class Penalised(HardSharing):
    """A penalty on features, the mean of their squares."""

    def penalty(self, features, heads):
        return torch.stack([f.vector.square().mean() for f in features.values()]).mean()


@pytest.mark.parametrize("aggregation", ["sum", "pcgrad"])
def test_the_sharings_penalty_is_added_after_balancing(aggregation: str) -> None:
    data = make_data()
    tasks = make_tasks(data)
    plain = make(data, aggregation=aggregation, tasks=tasks)
    held = make(data, aggregation=aggregation, tasks=tasks, model=make_model(tasks, wrap=Penalised))
    vector = held.model.run(data.inputs, list(tasks), "p").features["digit"].vector
    shared = list(held.model.sharing.parameters())
    extra = torch.autograd.grad(vector.square().mean(), shared)
    plain.engine.step([data.batch(ALL)], 0, 1)
    look = held.engine.step([data.batch(ALL)], 0, 1)
    assert isinstance(look, Look)
    assert float(look.penalties["sharing"]) == pytest.approx(float(vector.detach().square().mean()))
    for one, other, more in zip(plain.model.sharing.parameters(), held.model.sharing.parameters(), extra, strict=True):
        torch.testing.assert_close(other.grad, one.grad + more)


def test_clipping_bounds_the_norm_of_the_whole_gradient() -> None:
    data = make_data()
    toy = make(data, clip=0.01)
    toy.engine.step([data.batch(ALL)], 0, 1)
    norm = torch.cat([g.flatten() for g in gradients(toy).values() if g is not None]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-4)


class AtTrunk(Spy):
    needs = Needs(level="gramian", at="trunk")

    def weights(self, look: Look) -> Tensor:
        self.seen_gramian = look.gramian(at="trunk")
        return torch.tensor(self.given[: len(look.tasks)], dtype=torch.float64)


class AtLastStage(Spy):
    needs = Needs(level="gramian", at="last_stage")

    def weights(self, look: Look) -> Tensor:
        self.seen_gramian = look.gramian(at="last_stage")
        return torch.tensor(self.given[: len(look.tasks)], dtype=torch.float64)


@pytest.mark.parametrize("kind", [AtTrunk, AtLastStage])
@pytest.mark.parametrize("cuts", [[ALL], [slice(0, 9), slice(9, ROWS)]])
def test_weights_from_a_cheaper_place_still_combine_the_whole_gradient(kind: type[Spy], cuts: list[slice]) -> None:
    data = make_data()
    exact, cheap = make(data, aggregation=Spy()), make(data, aggregation=kind())
    losses = plain_losses(cheap)
    if kind is AtTrunk:
        run = cheap.model.run(data.inputs, list(losses), "p")
        trunk = run.features["digit"].vector
        places = [trunk]
        losses = dict(zip(losses, _losses_from(cheap, trunk), strict=True))
    else:
        places = cheap.model.sharing.last_stage()
    rows = torch.stack(
        [torch.cat([g.flatten() for g in torch.autograd.grad(x, places, retain_graph=True)]) for x in losses.values()]
    )
    exact.engine.step([data.batch(ALL)], 0, 1)
    cheap.engine.step([data.batch(cut) for cut in cuts], 0, 1)
    spy = cheap.engine.methods.aggregation
    assert isinstance(spy, Spy)
    torch.testing.assert_close(spy.seen_gramian, rows @ rows.T, rtol=1e-7, atol=1e-9)
    assert furthest(exact.parameters(), cheap.parameters()) < 1e-12


def test_where_no_last_stage_trains_gradients_are_looked_at_over_all_that_is_shared() -> None:
    data, tasks = make_data(), make_tasks(make_data())
    model = make_model(tasks, "film")
    for parameter in model.sharing.backbone.parameters():
        parameter.requires_grad_(False)
    exact = make(data, tasks=tasks, model=copy.deepcopy(model), sharing="film", aggregation=Spy())
    cheap = make(data, tasks=tasks, model=model, sharing="film", aggregation=AtLastStage())
    for toy in (exact, cheap):
        toy.engine.step([data.batch(ALL)], 0, 1)
    seen = [toy.engine.methods.aggregation.seen_gramian for toy in (exact, cheap)]
    assert float(seen[0].diagonal().min()) > 0
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-9, atol=0)


def _losses_from(toy: Toy, trunk: Tensor) -> list[Tensor]:
    data = make_data()
    outputs = {n: toy.model.heads[slot(n)].layers(trunk) for n in toy.tasks}
    return [toy.tasks[n].loss_sum(outputs[n], t) / toy.tasks[n].count(t) for n, t in data.targets.items()]


def test_a_method_at_the_trunk_is_refused_where_shared_parameters_lie_behind_it() -> None:
    data = make_data()
    with pytest.raises(ConfigError, match="sharing=hard"):
        make(data, sharing="cross_stitch", aggregation=AtTrunk())


class Halves(Spy):
    needs = Needs(level="gramian", batches=2)

    def weights(self, look: Look) -> Tensor:
        self.cross = look.gramian(0, 1)
        self.whole = look.gramian()
        return torch.ones(len(look.tasks), dtype=torch.float64)


def test_independent_batches_give_cross_gramians_of_each_ones_own_mean_losses() -> None:
    data = make_data()
    toy, exact = make(data, aggregation=Halves()), make(data)
    shared = list(toy.model.sharing.parameters())

    def rows(cut: slice) -> Tensor:
        found = [torch.autograd.grad(x, shared, retain_graph=True) for x in plain_losses(toy, cut).values()]
        return torch.stack([torch.cat([g.flatten() for g in row]) for row in found])

    first, second, whole = rows(slice(0, 12)), rows(slice(12, ROWS)), rows(ALL)
    toy.engine.step([data.batch(ALL)], 0, 1)
    exact.engine.step([data.batch(ALL)], 0, 1)
    halves = toy.engine.methods.aggregation
    assert isinstance(halves, Halves)
    torch.testing.assert_close(halves.cross, first @ second.T, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(halves.whole, whole @ whole.T, rtol=1e-7, atol=1e-9)
    assert furthest(toy.parameters(), exact.parameters()) < 1e-12


class LooksAgain(FixedWeighting):
    needs = Needs(again=True)

    def after_step(self, look: Look) -> None:
        self.seen = look.again()


def test_a_second_look_sees_the_new_parameters_with_the_same_draws_and_leaves_no_trace() -> None:
    data = make_data()
    tasks = make_tasks(data)
    told = facts(tasks)
    plain = make(data, tasks=tasks, model=make_model(tasks, dropout=0.5))
    looking = make(data, tasks=tasks, model=make_model(tasks, dropout=0.5), weighting=LooksAgain(Fixed(), told))
    still = make(data, tasks=tasks, model=make_model(tasks, dropout=0.5), weighting=LooksAgain(Fixed(), told), lr=0.0)
    for step in range(3):
        plain.engine.step([data.batch(ALL)], step, 3)
        looking.engine.step([data.batch(ALL)], step, 3)
        look = still.engine.step([data.batch(ALL)], step, 3)
        assert isinstance(look, Look)
        assert torch.equal(still.engine.methods.weighting.seen, look.losses_T)
    assert furthest(plain.parameters(), looking.parameters()) == 0
    assert not torch.equal(looking.engine.methods.weighting.seen, still.engine.methods.weighting.seen)


class HeldOut(FixedWeighting):
    needs = Needs(heldout=True)

    def before_step(self, look: Look) -> None:
        assert look.heldout is not None
        self.seen = look.heldout.rows()


def test_a_held_out_batch_is_looked_at_and_not_trained_on() -> None:
    data, other = make_data(), make_data(seed=5)
    tasks = make_tasks(data)
    plain, held = make(data, tasks=tasks), make(data, tasks=tasks, weighting=HeldOut(Fixed(), facts(tasks)))
    shared = list(held.model.sharing.parameters())
    expected = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared, retain_graph=True)])
        for loss in plain_losses(held, seed=5).values()
    ]
    plain.engine.step([data.batch(ALL)], 0, 1)
    held.engine.step([data.batch(ALL)], 0, 1, other.batch(ALL))
    seen = held.engine.methods.weighting.seen
    torch.testing.assert_close(seen, torch.stack(expected), rtol=1e-7, atol=1e-9)
    assert furthest(plain.parameters(), held.parameters()) == 0


class Nowhere(Aggregation):
    """A direction of its own, not a combination."""

    needs = Needs(level="rows")

    def direction(self, look: Look) -> Tensor:
        return torch.full_like(look.row(0), 7.0)


def test_a_direction_takes_the_place_of_the_shared_gradient() -> None:
    data = make_data()
    toy = make(data, aggregation=Nowhere())
    toy.engine.step([data.batch(ALL)], 0, 1)
    assert all(bool((p.grad == 7.0).all()) for p in toy.model.sharing.parameters())


def test_one_task_takes_its_plain_step_under_every_aggregation() -> None:
    data = make_data()
    only = {"digit": make_tasks(data)["digit"]}
    alone = data._replace(targets={"digit": data.targets["digit"]})
    toys = [make(alone, tasks=only, aggregation=name) for name in AGGREGATION]
    for toy in toys:
        toy.engine.step([alone.batch(ALL)], 0, 1)
    for toy in toys[1:]:
        assert furthest(toys[0].parameters(), toy.parameters()) < 1e-12


class Normed(HardSharing):
    """Batch norm on the vector."""

    def __init__(self, option, factory, tasks):
        super().__init__(option, factory, tasks)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, inputs, tasks):
        found = super().forward(inputs, tasks)
        vector = self.norm(next(iter(found.values())).vector)
        return {task: features._replace(vector=vector, trunk=vector) for task, features in found.items()}


def test_a_skipped_step_leaves_running_statistics_as_they_were() -> None:
    data, broken = make_data(), make_data()
    broken.inputs[20, 0] = torch.inf
    tasks = make_tasks(data)
    toy = make(data, tasks=tasks, model=make_model(tasks, wrap=Normed), aggregation="pcgrad")
    toy.engine.step([data.batch(ALL)], 0, 2)
    before = {name: buffer.clone() for name, buffer in toy.model.named_buffers()}
    assert before
    assert is_not_finite(toy.engine.step([broken.batch(ALL)], 1, 2))
    assert all(torch.equal(buffer, before[name]) for name, buffer in toy.model.named_buffers())


class PenalisedHeads(HardSharing):
    """A penalty on every head, that of inactive tasks too."""

    def penalty(self, features, heads):
        return torch.stack([p.square().sum() for head in heads.values() for p in head.parameters()]).sum()


@pytest.mark.parametrize("aggregation", ["sum", "pcgrad"])
def test_a_penalty_gives_the_parameters_of_an_inactive_task_no_gradient(aggregation: str) -> None:
    data = make_data()
    data.targets["odd"].fill_(torch.nan)
    tasks = make_tasks(make_data())
    toy = make(data, aggregation=aggregation, tasks=tasks, model=make_model(tasks, wrap=PenalisedHeads))
    toy.engine.step([data.batch(ALL)], 0, 1)
    own = toy.engine.usage.own["odd"]
    assert own
    assert all(gradients(toy)[name] is None for name in own)
    assert all(gradients(toy)[name] is not None for name in toy.engine.usage.own["digit"])


class Norms(FixedWeighting):
    needs = Needs(level="norms", at="last_stage")

    def before_step(self, look: Look) -> None:
        self.seen = look.norms(at="last_stage")


@pytest.mark.parametrize("sharing", ["hard", "independent"])
def test_the_last_stage_has_no_gradient_where_nothing_is_shared(sharing: str) -> None:
    data = make_data()
    only = {"digit": make_tasks(data)["digit"]} if sharing == "hard" else make_tasks(data)
    alone = data._replace(targets={name: data.targets[name] for name in only})
    spy = Norms(Fixed(), facts(only))
    toy = make(alone, tasks=only, sharing=sharing, weighting=spy)
    assert isinstance(toy.engine.step([alone.batch(ALL)], 0, 1), Look)
    assert torch.equal(spy.seen, torch.zeros(len(only), dtype=torch.float64))


def test_a_held_out_batch_without_labels_is_no_look() -> None:
    data, other = make_data(), make_data(seed=5)
    for target in other.targets.values():
        target.fill_(torch.nan if target.is_floating_point() else -100)
    tasks = make_tasks(data)
    toy = make(data, tasks=tasks)
    look = toy.engine.step([data.batch(ALL)], 0, 1, other.batch(ALL))
    assert isinstance(look, Look)
    assert look.heldout is None


def test_a_weightings_own_parameters_must_be_stepped_by_someone() -> None:
    data = make_data()
    tasks = make_tasks(data)
    toy = make(data, tasks=tasks, weighting="uw")
    engine = toy.engine
    forgetful = torch.optim.SGD(toy.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"weighting.groups\(\) should name all"):
        Engine(toy.model, tasks, engine.methods, forgetful, engine.usage, Settings(0, None, half=None))
