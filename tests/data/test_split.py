from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtl_cli.data.base import MISSING, Column, PartData, Samples
from mtl_cli.data.split import carve, keep_seen, limit, take

labels = st.lists(st.tuples(st.sampled_from([MISSING, 0, 1, 2]), st.sampled_from([0, 1])), min_size=1, max_size=80)


def numbered(n: int) -> Samples:
    return Samples(torch.arange(n, dtype=torch.float32)[:, None], {"label": Column(torch.arange(n), None)})


def joint(strata: list[Tensor], index: Tensor) -> Counter[tuple[float, ...]]:
    return Counter(tuple(target[i].item() for target in strata) for i in index.tolist())


@settings(max_examples=150)
@given(labels, st.floats(0, 0.99), st.integers(0, 3))
def test_train_and_validation_never_overlap_and_leave_no_sample_out(rows, share, seed):
    strata = [torch.tensor(column) for column in zip(*rows, strict=True)]
    train, val = carve(strata, len(rows), share, seed, "images")
    assert sorted(train.tolist() + val.tolist()) == list(range(len(rows)))
    assert train.dtype == val.dtype == torch.int64
    assert len(train) > 0


@settings(max_examples=100)
@given(st.lists(st.integers(10, 60), min_size=2, max_size=5), st.integers(0, 5))
def test_every_common_combination_keeps_its_share_to_within_one_sample(sizes, seed):
    first = torch.cat([torch.full((size,), i % 2) for i, size in enumerate(sizes)])
    second = torch.cat([torch.full((size,), i) for i, size in enumerate(sizes)])
    _, val = carve([first, second], len(first), 0.2, seed, "images")
    share = len(val) / len(first)
    counts = joint([second], val)
    for i, size in enumerate(sizes):
        assert abs(counts[(i,)] - size * share) < 1


def test_rare_combinations_share_the_first_tasks_stratum():
    # 20 samples whose second label is theirs alone; the first label is 12 of 0 and 8 of 1: a quarter is 3 and 2.
    first = torch.tensor([0] * 12 + [1] * 8)
    second = torch.arange(20)
    for seed in range(20):
        _, val = carve([first, second], 20, 0.25, seed, "images")
        assert joint([first], val) == {(0,): 3, (1,): 2}


def test_labels_too_rare_for_any_stratum_are_pooled():
    # 16 of label 0, and eight labels of which there is one each: the pool of 8 gives 2 of the 6.
    first = torch.tensor([0] * 16 + list(range(1, 9)))
    for seed in range(20):
        _, val = carve([first], 24, 0.25, seed, "images")
        assert joint([(first > 0).long()], val) == {(0,): 4, (1,): 2}


def test_one_odd_sample_does_not_stop_the_split():
    _, val = carve([torch.tensor([0] * 9 + [1])], 10, 0.2, 0, "images")
    assert len(val) == 2


@pytest.mark.parametrize(
    "missing", [torch.tensor([MISSING] * 10 + [0] * 30), torch.tensor([float("nan")] * 10 + [0.0] * 30)]
)
def test_missing_labels_are_a_stratum_of_their_own(missing):
    for seed in range(20):
        _, val = carve([missing], 40, 0.2, seed, "images")
        assert int((val < 10).sum()) == 2


def test_without_classes_the_split_is_plainly_random():
    seen = [carve([], 100, 0.3, seed, "images")[1] for seed in range(40)]
    assert all(len(val) == 30 for val in seen)
    counts = torch.cat(seen).bincount(minlength=100)
    assert counts.min() > 0
    assert counts.max() < 40


def test_a_share_of_zero_leaves_validation_empty():
    train, val = carve([torch.tensor([0, 1, 0, 1])], 4, 0.0, 0, "images")
    assert train.tolist() == [0, 1, 2, 3]
    assert val.tolist() == []


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_tiny_sets_keep_a_sample_on_each_side_where_they_can(count, expected):
    train, val = carve([torch.zeros(count, dtype=torch.long)], count, 0.1, 0, "images")
    assert (len(train), len(val)) == (count - expected, expected)


def test_only_the_datas_seed_and_the_part_decide_the_split():
    strata = [torch.arange(200) % 4]
    torch.manual_seed(1)
    np.random.seed(1)
    one = carve(strata, 200, 0.2, 7, "images")[1]
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(carve(strata, 200, 0.2, 7, "images")[1], one)
    assert not torch.equal(carve(strata, 200, 0.2, 8, "images")[1], one)
    assert not torch.equal(carve(strata, 200, 0.2, 7, "sounds")[1], one)


@given(st.integers(1, 40), st.one_of(st.none(), st.integers(1, 50)), st.integers(0, 3))
def test_a_limit_keeps_at_most_n_samples_in_their_order(count, n, seed):
    kept = limit(count, n, seed, "images", "train")
    assert len(kept) == (count if n is None else min(n, count))
    assert kept.tolist() == sorted(set(kept.tolist()) & set(range(count)))


def test_a_limit_is_a_random_subset_by_seed_and_words():
    one = limit(100, 20, 0, "images", "train")
    assert torch.equal(limit(100, 20, 0, "images", "train"), one)
    assert not torch.equal(limit(100, 20, 1, "images", "train"), one)
    assert not torch.equal(limit(100, 20, 0, "images", "test"), one)
    assert one.max() >= 50


def test_take_keeps_inputs_and_every_target_together():
    data = PartData(
        torch.tensor([[1.0], [2.0], [3.0]]),
        {"a": torch.tensor([10, 20, 30]), "b": torch.tensor([0.1, 0.2, 0.3])},
        torch.tensor([7, 8, 9]),
    )
    got = take(data, torch.tensor([2, 0]))
    assert got.inputs.tolist() == [[3.0], [1.0]]
    assert got.targets["a"].tolist() == [30, 10]
    assert got.origin.tolist() == [9, 7]
    assert got.targets["b"].tolist() == pytest.approx([0.3, 0.1])


def test_of_tags_the_rarest_of_a_row_keeps_its_share() -> None:
    rare = (torch.arange(100) < 8).float()
    often = (torch.arange(100) < 60).float()
    target = torch.stack([often, rare, torch.ones(100)], 1)
    target[90:] = torch.nan
    for seed in range(10):
        _, val = carve([target], 100, 0.25, seed, "images")
        kept = target[val]
        assert int(kept[:, 1].nansum()) == 2
        assert int(kept[:, 0].nansum()) == 15
        assert int(kept.isnan().any(1).sum()) in (2, 3)


@settings(max_examples=100)
@given(labels, st.floats(0, 0.99), st.integers(0, 3))
def test_no_class_is_only_among_those_that_go(rows, share, seed):
    strata = [torch.tensor(column) for column in zip(*rows, strict=True)]
    before = carve(strata, len(rows), share, seed, "images")
    stay, go = keep_seen(strata, *before)
    assert sorted(stay.tolist() + go.tolist()) == list(range(len(rows)))
    assert stay.tolist() == sorted(stay.tolist())
    for target in strata:
        assert set(target[go].tolist()) - {MISSING} <= set(target[stay].tolist())
    if all(set(t[before[1]].tolist()) <= set(t[before[0]].tolist()) for t in strata):
        assert torch.equal(go, before[1])


def test_of_a_class_that_would_go_the_first_sample_stays():
    target = torch.tensor([0, 1, 1, 0, MISSING])
    stay, go = keep_seen([target], torch.tensor([0]), torch.tensor([1, 2, 3, 4]))
    assert (stay.tolist(), go.tolist()) == ([0, 1], [2, 3, 4])


def test_a_tag_that_would_only_go_has_its_first_row_stay() -> None:
    # The last tag is the rarest of no row, and none of those that stay has it.
    target = torch.tensor([[1.0, 0, 0], [0, 1, 0], [torch.nan] * 3, [1, 0, 1], [0, 1, 1], [0, 0, 0]])
    stay, go = keep_seen([target], torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5]))
    assert stay.tolist() == [0, 1, 2, 3]
    assert go.tolist() == [4, 5]
