import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtl_cli.data.base import MISSING, Batch, PartData, Preparation
from mtl_cli.data.loader import UNIFORM, EvalLoader, TrainLoader, resident
from mtl_cli.data.options import Proportional, RoundRobin, Temperature
from mtl_cli.options import Option

CPU = torch.device("cpu")
PLAIN = Preparation(mean=(0.0,), std=(1.0,), crop=0, flip=False)
MOVED = Preparation(mean=(3.0,), std=(2.0,), crop=2, flip=True)


def numbered(n: int, **targets: Tensor) -> PartData:
    """Samples whose one input, and target `number`, is their own index."""
    return PartData(
        torch.arange(n, dtype=torch.float32)[:, None], {"number": torch.arange(n), **targets}, torch.arange(n)
    )


def train(sizes: dict[str, int], batch: int, seed: int = 0, sampling: Option = UNIFORM) -> TrainLoader:
    split = {name: numbered(n) for name, n in sizes.items()}
    return TrainLoader(split, dict.fromkeys(sizes, PLAIN), batch, seed, CPU, sampling=sampling)


def pictures(n: int) -> PartData:
    inputs = torch.randint(0, 256, (n, 1, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    return PartData(inputs, {"number": torch.arange(n)}, torch.arange(n))


def rows(batches: list[Batch], part: int = 0) -> list[int]:
    return [i for batch in batches for i in batch.parts[part].targets["number"].tolist()]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        p.name == q.name
        and p.labelled == q.labelled
        and torch.equal(p.inputs, q.inputs)
        and all(torch.equal(p.targets[task], q.targets[task]) for task in p.targets)
        for a, b in zip(one, other, strict=True)
        for p, q in zip(a.parts, b.parts, strict=True)
    )


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 12))
def test_an_epoch_shows_every_sample_once_but_for_a_lone_last_one(n, batch):
    loader = train({"a": n}, batch)
    batches = list(loader.epoch(0))
    lone = n % batch == 1 and n > 1 and batch > 1
    assert len(rows(batches)) == len(set(rows(batches))) == n - lone
    assert len(batches) == loader.steps
    assert all(len(b.parts[0].inputs) == batch for b in batches[:-1])


def test_one_sample_alone_is_still_an_epoch():
    assert rows(list(train({"a": 1}, 8).epoch(0))) == [0]


def test_inputs_and_targets_stay_together():
    for batch in train({"a": 30}, 7).epoch(3):
        assert batch.parts[0].inputs[:, 0].tolist() == batch.parts[0].targets["number"].tolist()


@settings(max_examples=40)
@given(st.integers(2, 12), st.integers(2, 12))
def test_order_and_augmentation_do_not_depend_on_the_batch_size(one, other):
    split = {"a": pictures(24), "b": pictures(7)}
    epochs = [list(TrainLoader(split, {"a": MOVED, "b": MOVED}, size, 5, CPU).epoch(2)) for size in (one, other)]
    for part in (0, 1):
        a, b = (torch.cat([batch.parts[part].inputs for batch in batches]) for batches in epochs)
        n = min(len(a), len(b))
        assert n >= 23
        assert torch.equal(a[:n], b[:n])


SAMPLINGS = st.sampled_from([UNIFORM, Proportional(), Temperature(tau=3.0), RoundRobin()])


@settings(max_examples=60)
@given(st.integers(0, 9), st.integers(2, 9), st.integers(0, 2), SAMPLINGS)
def test_an_epoch_resumed_at_any_batch_goes_on_as_if_never_stopped(start, batch, epoch, sampling):
    split = {"a": pictures(31), "b": pictures(4), "c": pictures(13)}
    loader = TrainLoader(split, dict.fromkeys(split, MOVED), batch, 1, CPU, sampling=sampling)
    again = TrainLoader(split, dict.fromkeys(split, MOVED), batch, 1, CPU, sampling=sampling)
    assert same(list(again.epoch(epoch, start)), list(loader.epoch(epoch))[start:])


def test_a_resumed_epoch_draws_no_round_before_its_own(monkeypatch):
    drawn = []
    real = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda n, **k: drawn.append(n) or real(n, **k))
    next(train({"large": 1000, "small": 10}, 10).epoch(0, 90))
    assert drawn == [1000, 10]


def test_seed_and_epoch_each_give_another_order_and_nothing_else_does():
    one = rows(list(train({"a": 50}, 10).epoch(0)))
    torch.manual_seed(99)
    torch.rand(3)
    assert rows(list(train({"a": 50}, 10).epoch(0))) == one
    assert rows(list(train({"a": 50}, 10, seed=1).epoch(0))) != one
    assert rows(list(train({"a": 50}, 10).epoch(1))) != one
    assert rows(list(train({"b": 50}, 10).epoch(0))) != one
    assert one != sorted(one)


def test_a_smaller_part_starts_over_in_a_new_order_and_fills_every_batch():
    loader = train({"large": 22, "small": 5}, 4)
    batches = list(loader.epoch(0))
    assert loader.steps == 6
    assert [[len(part.inputs) for part in batch.parts] for batch in batches] == [[4, 4]] * 5 + [[2, 2]]
    assert sorted(rows(batches, 0)) == list(range(22))
    rounds = [rows(batches, 1)[i : i + 5] for i in (0, 5, 10, 15)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def of(batches: list[Batch], name: str) -> list[int]:
    """The numbers of one part's samples, in their order."""
    parts = [part for batch in batches for part in batch.parts if part.name == name]
    return [i for part in parts for i in part.targets["number"].tolist()]


@settings(max_examples=40)
@given(st.integers(2, 60), st.integers(1, 60), st.integers(2, 9), SAMPLINGS)
def test_whatever_the_sampling_an_epoch_misses_and_repeats_no_sample_of_the_largest_part(n, other, batch, sampling):
    loader = train({"large": n + other, "small": other}, batch, sampling=sampling)
    found = of(list(loader.epoch(0)), "large")
    assert len(set(found)) == len(found)
    assert n + other - 1 <= len(found)


@given(st.integers(1, 20), st.integers(2, 9), SAMPLINGS)
def test_a_smaller_part_shows_all_its_samples_before_it_shows_one_again(small, batch, sampling):
    loader = train({"large": 70, "small": small}, batch, sampling=sampling)
    found = of(list(loader.epoch(1)), "small")
    for first in range(0, len(found), small):
        assert len(set(found[first : first + small])) == len(found[first : first + small])


def test_a_part_that_waits_is_not_in_the_batch():
    batches = list(train({"large": 990, "small": 10}, 50, sampling=Proportional()).epoch(0))
    assert [[part.name for part in batch.parts] for batch in batches] == [["large"], ["large", "small"]] * 5
    assert sorted(of(batches, "small")) == list(range(10))


@pytest.mark.parametrize("sampling", [UNIFORM, Proportional(), RoundRobin()], ids=str)
def test_the_opening_shows_the_first_samples_of_every_part(sampling):
    loader = train({"large": 990, "small": 10, "tiny": 3}, 4, sampling=sampling)
    for part in loader.opening():
        trained = of(list(loader.epoch(0)), part.name)[: len(part.inputs)]
        assert part.targets["number"].tolist()[: len(trained)] == trained
        assert len(part.inputs) == (3 if part.name == "tiny" else 4)


def test_a_batch_larger_than_the_smaller_part_repeats_it():
    batch = next(train({"large": 20, "small": 3}, 8).epoch(0))
    assert sorted(batch.parts[1].targets["number"].tolist()[:6]) == [0, 0, 1, 1, 2, 2]
    assert len(batch.parts[1].inputs) == 8


def test_a_sample_seen_again_in_the_same_epoch_is_augmented_anew():
    split = {"large": pictures(64), "small": pictures(1)}
    loader = TrainLoader(split, dict.fromkeys(split, MOVED), 64, 0, CPU)
    small = next(loader.epoch(0)).parts[1].inputs
    assert len(small.flatten(1).unique(dim=0)) > 10


def test_missing_labels_are_not_counted():
    whole = torch.tensor([0, MISSING, 1, MISSING, MISSING, 2])
    real = torch.tensor([0.5, float("nan"), 1.0, 1.0, float("nan"), 0.0])
    split = {"a": numbered(6, kind=whole, size=real)}
    for loader in (TrainLoader(split, {"a": PLAIN}, 4, 0, CPU).epoch(0), EvalLoader(split, {"a": PLAIN}, 4, CPU)):
        for batch in loader:
            part = batch.parts[0]
            assert part.labelled == {
                "number": len(part.inputs),
                "kind": int((part.targets["kind"] != MISSING).sum()),
                "size": int((~part.targets["size"].isnan()).sum()),
            }
    first = next(iter(EvalLoader(split, {"a": PLAIN}, 4, CPU))).parts[0]
    assert first.labelled == {"number": 4, "kind": 2, "size": 3}


def test_labels_are_counted_over_the_rounds_of_a_small_part():
    split = {"large": numbered(8), "small": numbered(2, kind=torch.tensor([MISSING, 1]))}
    batch = next(TrainLoader(split, dict.fromkeys(split, PLAIN), 8, 0, CPU).epoch(0))
    assert batch.parts[1].labelled == {"number": 8, "kind": 4}


def test_evaluation_gives_all_samples_in_order_and_leaves_out_a_part_that_has_run_out():
    split = {"large": numbered(7), "small": numbered(3)}
    batches = list(EvalLoader(split, {"large": PLAIN, "small": PLAIN}, 2, CPU))
    assert [[part.name for part in batch.parts] for batch in batches] == [["large", "small"]] * 2 + [["large"]] * 2
    assert rows(batches) == list(range(7))
    assert rows(batches[:2], 1) == [0, 1, 2]


def test_evaluation_neither_crops_nor_flips():
    data = pictures(9)
    (batch,) = EvalLoader({"a": data}, {"a": MOVED}, 16, CPU)
    assert torch.equal(batch.parts[0].inputs, (data.inputs.float() - 3) / 2)


def test_an_empty_split_has_no_batches():
    assert list(EvalLoader({"a": numbered(0)}, {"a": PLAIN}, 4, CPU)) == []


def test_loaders_of_one_split_share_its_memory():
    split = {"a": pictures(4)}
    assert resident(split, CPU)["a"].inputs.data_ptr() == split["a"].inputs.data_ptr()


def test_an_empty_part_of_train_is_named():
    with pytest.raises(ValueError, match="Found none in small"):
        train({"large": 4, "small": 0}, 2)
