"""A model over a split: the same numbers at any batch size, and nothing left behind."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.data.base import Batch, InputSpec, Part, labelled
from mtl_cli.evaluation import Score, evaluate, selection
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.options import HEADS, LOSSES, METRICS
from tests.options import NAMES, build, default, make_task

ROWS = 50
WHAT, IS_IT, HOW_MUCH = NAMES[:3]
WEIGHTS = [0.5, 2.0, 1.0, 0.25]
PARTS = {WHAT: "a", IS_IT: "a", HOW_MUCH: "b"}


def targets() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = {
        WHAT: torch.randint(0, 4, (ROWS,), generator=generator),
        IS_IT: torch.randint(0, 2, (ROWS,), generator=generator).float(),
        HOW_MUCH: 1000 + 5 * torch.randn(ROWS, generator=generator),
    }
    found[WHAT][10:25] = -100
    found[IS_IT][::3] = torch.nan
    found[HOW_MUCH][:20] = torch.nan
    return found


def tasks() -> dict[str, Task]:
    kinds = {WHAT: "classification", IS_IT: "binary", HOW_MUCH: "regression"}
    classes = {WHAT: tuple("abcd"), IS_IT: ("no", "yes"), HOW_MUCH: ()}
    weighted = {WHAT: {"loss": default(LOSSES, "cross_entropy", class_weights=WEIGHTS)}}
    return {
        name: make_task(name, kinds[name], target, classes[name], **weighted.get(name, {}))
        for name, target in targets().items()
    }


def model_of(its: dict[str, Task]) -> MultiTaskModel:
    torch.manual_seed(0)
    shape = (3, 8, 8)
    factory = BackboneFactory(build(BACKBONES, "cnn", InputSpec(shape), channels=4, depth=2, norm="batch"))
    sharing = build(SHARINGS, "hard", factory, {n: t.width for n, t in its.items()})
    heads = {n: build(HEADS, "mlp", sharing.spec(n), t.width, "head", dropout=0.5) for n, t in its.items()}
    return MultiTaskModel(sharing, heads, PARTS, per_part=True)


def inputs() -> Tensor:
    return torch.randn(ROWS, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def batches(size: int, given: dict[str, Tensor] | None = None) -> Iterator[Batch]:
    given = targets() if given is None else given
    for start in range(0, ROWS, size):
        cut = slice(start, start + size)
        parts = []
        for part in ("a", "b"):
            its = {name: target[cut] for name, target in given.items() if PARTS[name] == part}
            counts = {name: int(labelled(target).sum()) for name, target in its.items()}
            parts.append(Part(part, inputs()[cut], its, counts))
        yield Batch(parts)


def close(first: Score, second: Score) -> None:
    assert first.labels == second.labels
    assert first.loss == pytest.approx(second.loss)
    assert first.skill == pytest.approx(second.skill, abs=1e-6)
    assert first.metrics == pytest.approx(second.metrics, abs=1e-6)
    assert first.constants == second.constants


@pytest.mark.parametrize("size", [1, 7, 49])
def test_the_scores_are_the_same_at_any_batch_size(size: int) -> None:
    its = tasks()
    model = model_of(its)
    whole, found = evaluate(model, its, batches(ROWS)), evaluate(model, its, batches(size))
    for name in its:
        close(found[name], whole[name])


def test_a_score_is_that_of_the_plain_outputs_over_the_labelled_rows() -> None:
    its = tasks()
    model = model_of(its)
    scores = evaluate(model, its, batches(7))
    model.eval()
    with torch.no_grad():
        outputs = {n: model(inputs(), [n], PARTS[n])[n] for n in its}
    for name, target in targets().items():
        there, score = labelled(target), scores[name]
        assert score.labels == int(there.sum())
        assert list(score.metrics) == list(METRICS[its[name].option.__struct_config__.tag])
    weighted = functional.cross_entropy(outputs[WHAT], targets()[WHAT], torch.tensor(WEIGHTS), ignore_index=-100)
    assert scores[WHAT].loss == pytest.approx(float(weighted))
    yes, there = targets()[IS_IT], labelled(targets()[IS_IT])
    plain = functional.binary_cross_entropy_with_logits(outputs[IS_IT][there, 0], yes[there])
    assert scores[IS_IT].loss == pytest.approx(float(plain))
    kept, there = targets()[WHAT], labelled(targets()[WHAT])
    right = (outputs[WHAT].argmax(1) == kept)[there].float().mean()
    assert scores[WHAT].metrics["accuracy"] == pytest.approx(float(right))
    majority = torch.bincount(kept[there]).max() / there.sum()
    assert scores[WHAT].constants["accuracy"] == pytest.approx(float(majority))
    assert scores[WHAT].skill == pytest.approx(1 - (1 - float(right)) / (1 - float(majority)))


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_and_state_are_as_before(training: bool) -> None:
    its = tasks()
    model = model_of(its).train(training)
    model.sharing.eval()  # a part that is held still stays so
    modes = [module.training for module in model.modules()]
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    evaluate(model, its, batches(7))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_mode_is_put_back_also_when_the_data_ends_in_an_error() -> None:
    def broken() -> Iterator[Batch]:
        yield next(batches(7))
        raise OSError("the disk is gone")

    its = tasks()
    model = model_of(its).train()
    with pytest.raises(OSError, match="the disk is gone"):
        evaluate(model, its, broken())
    assert model.training


def test_a_split_without_labels_has_no_numbers_and_one_task_more_or_less_changes_no_other() -> None:
    its = tasks()
    model = model_of(its)
    whole = evaluate(model, its, batches(7))
    given = targets()
    given[WHAT].fill_(-100)
    scores = evaluate(model, its, batches(7, given))
    nothing = {"accuracy": None, "f1_macro": None}
    assert scores[WHAT] == Score(None, nothing, nothing, None, 0)
    for name in (IS_IT, HOW_MUCH):
        close(scores[name], whole[name])


def test_a_split_without_a_batch_has_no_numbers() -> None:
    its = tasks()
    for score in evaluate(model_of(its), its, []).values():
        assert (score.loss, score.skill, score.labels) == (None, None, 0)
        assert set(score.metrics.values()) == {None}


def scored(**skills: float | None) -> dict[str, Score]:
    primary = {WHAT: "accuracy", IS_IT: "accuracy", HOW_MUCH: "mae"}
    return {n: Score(1.0, {primary[n]: None if s is None else 10 * s}, {}, s, 9) for n, s in skills.items()}


def judged() -> dict[str, Task]:
    its = tasks()
    its[HOW_MUCH] = make_task(HOW_MUCH, "regression", targets()[HOW_MUCH], primary="mae")
    return its


def test_selection_looks_at_the_mean_or_the_worst_skill_or_at_one_tasks_metric() -> None:
    scores, its = scored(**{WHAT: 0.75, IS_IT: -0.5, HOW_MUCH: 0.5}), judged()
    assert selection("mean", scores, its) == pytest.approx(0.25)
    assert selection("worst", scores, its) == pytest.approx(-0.5)
    assert selection(WHAT, scores, its) == pytest.approx(7.5)
    assert selection(HOW_MUCH, scores, its) == pytest.approx(-5.0)  # an error: higher is worse


def test_selection_passes_over_tasks_without_labels_and_has_nothing_where_all_are() -> None:
    its = judged()
    scores = scored(**{WHAT: 0.75, IS_IT: None, HOW_MUCH: 0.25})
    assert selection("mean", scores, its) == pytest.approx(0.5)
    assert selection("worst", scores, its) == pytest.approx(0.25)
    assert selection(IS_IT, scores, its) is None
    nothing = scored(**dict.fromkeys(PARTS))
    assert [selection(how, nothing, its) for how in ("mean", "worst", WHAT)] == [None] * 3
