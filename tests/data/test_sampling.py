"""What a batch takes of each part: shares, one pass over the largest part, no batch too small to normalise."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_cli.data.options import SAMPLINGS, Proportional, RoundRobin, Temperature, Uniform
from mtl_cli.data.sampling import Plan, in_words
from mtl_cli.options import Option

SAMPLING = st.one_of(
    st.sampled_from([Uniform(), Proportional(), RoundRobin()]),
    st.floats(0.3, 20).map(lambda tau: Temperature(tau=tau)),
)
SIZES = st.lists(st.integers(1, 500), min_size=1, max_size=5)


def plan(sampling: Option, sizes: list[int], batch: int, least: int = 2) -> Plan:
    found: Plan = SAMPLINGS.target(sampling)(sampling, sizes, batch, least)
    return found


def counts(made: Plan) -> list[list[int]]:
    """How many samples of each part each batch has."""
    return [[last - first for first, last in made.spans(step)] for step in range(made.steps)]


def shares(sampling: Option, sizes: list[int]) -> list[float]:
    """Of all samples, by the definition."""
    tau = sampling.tau if isinstance(sampling, Temperature) else 1.0
    even = not isinstance(sampling, Temperature | Proportional)
    powers = [1.0 if even else size ** (1 / tau) for size in sizes]
    return [power / sum(powers) for power in powers]


@settings(max_examples=80)
@given(SAMPLING, SIZES, st.integers(1, 200), st.integers(2, 6))
def test_batches_follow_one_another_without_a_gap(sampling: Option, sizes: list[int], batch: int, least: int) -> None:
    made = plan(sampling, sizes, batch, least)
    assert made.taken(0) == (0,) * len(sizes)
    for step in range(made.steps):
        assert all(first <= last for first, last in made.spans(step))
    assert made.taken(made.steps) == tuple(map(sum, zip(*counts(made), strict=True)))


@settings(max_examples=80)
@given(SAMPLING, SIZES, st.integers(1, 200), st.integers(2, 6))
def test_an_epoch_passes_the_largest_part_once_but_for_a_last_batch_too_small(
    sampling: Option, sizes: list[int], batch: int, least: int
) -> None:
    made = plan(sampling, sizes, batch, least)
    taken = made.taken(made.steps)[sizes.index(max(sizes))]
    assert taken == max(sizes) or max(sizes) - min(least, max(sizes)) < taken < max(sizes)


@settings(max_examples=80)
@given(SAMPLING, SIZES, st.integers(1, 200), st.integers(2, 6))
def test_no_part_is_in_a_batch_with_fewer_rows_than_it_needs_and_each_is_in_every_epoch(
    sampling: Option, sizes: list[int], batch: int, least: int
) -> None:
    found = counts(plan(sampling, sizes, batch, least))
    least = min(least, batch, max(sizes))
    assert all(count == 0 or count >= least for row in found for count in row)
    assert all(sum(column) >= least for column in zip(*found, strict=True))
    assert all(sum(row) > 0 for row in found)


@settings(max_examples=80)
@given(SAMPLING, SIZES, st.integers(1, 200), st.integers(2, 6))
def test_every_parts_share_is_right_at_any_moment_and_does_not_drift(
    sampling: Option, sizes: list[int], batch: int, least: int
) -> None:
    made = plan(sampling, sizes, batch, least)
    largest = max(sizes)
    ratios = [share / max(shares(sampling, sizes)) for share in shares(sampling, sizes)]
    whole = len(sizes) if isinstance(sampling, RoundRobin) else 1
    for step in range(0, made.steps, whole):
        taken = made.taken(step)
        x = taken[sizes.index(largest)]
        for count, ratio in zip(taken, ratios, strict=True):
            wanted = x * max(ratio, min(least, batch) / largest)
            assert wanted - least - 1 < count < wanted + least + 1


@settings(max_examples=60)
@given(st.sampled_from([Proportional(), Temperature(tau=2.0)]), SIZES, st.integers(20, 200))
def test_a_batch_has_as_many_samples_as_with_even_shares(sampling: Option, sizes: list[int], batch: int) -> None:
    found = counts(plan(sampling, sizes, batch))
    for row in found[:-1]:
        assert abs(sum(row) - batch * len(sizes)) <= 2 * len(sizes) + 1


@given(st.lists(st.integers(100, 3000), min_size=2, max_size=5), st.integers(16, 64))
def test_proportional_passes_every_part_once(sizes: list[int], batch: int) -> None:
    made = plan(Proportional(), sizes, batch)
    for size, taken in zip(sizes, made.taken(made.steps), strict=True):
        assert size - 4 <= taken <= size


@given(SIZES, st.integers(1, 200), st.integers(2, 6))
def test_a_temperature_of_1_is_proportional_and_a_high_one_uniform(sizes: list[int], batch: int, least: int) -> None:
    assert counts(plan(Temperature(tau=1.0), sizes, batch, least)) == counts(plan(Proportional(), sizes, batch, least))
    nearly = plan(Temperature(tau=1e12), sizes, batch, least)
    assert counts(nearly) == counts(plan(Uniform(), sizes, batch, least))


@given(SIZES, st.integers(1, 200))
def test_in_turn_each_batch_has_one_part_and_a_round_of_them_is_a_uniform_batch(sizes: list[int], batch: int) -> None:
    alone = counts(plan(RoundRobin(), sizes, batch))
    for step, row in enumerate(alone):
        assert [k for k, count in enumerate(row) if count] == [step % len(sizes)]
    rounds = [alone[i : i + len(sizes)] for i in range(0, len(alone), len(sizes))]
    assert [list(map(sum, zip(*rows, strict=True))) for rows in rounds] == counts(plan(Uniform(), sizes, batch))


def test_shares_by_hand() -> None:
    sizes = [900, 100]
    assert counts(plan(Uniform(), sizes, 100)) == [[100, 100]] * 9
    assert counts(plan(Proportional(), sizes, 50)) == [[90, 10]] * 10
    assert counts(plan(Temperature(tau=2.0), sizes, 100)) == [[150, 50]] * 6
    assert counts(plan(RoundRobin(), sizes, 450)) == [[450, 0], [0, 450]] * 2


def test_a_part_that_is_due_one_row_waits_until_it_is_due_two() -> None:
    found = counts(plan(Proportional(), [990, 10], 50))
    assert [row[1] for row in found] == [0, 2] * 5
    assert [row[0] for row in found] == [99] * 10


def test_a_part_of_one_sample_among_many_is_not_forgotten() -> None:
    made = plan(Proportional(), [10_000, 1], 64, least=4)
    assert made.taken(made.steps) == (10_000, 4)


@pytest.mark.parametrize(
    ("sampling", "sizes", "accumulate", "words"),
    [
        (Uniform(), {"a": 60_000, "b": 10_000}, 1, "469 steps; a 60,000 samples once, b 10,000 samples 6 times"),
        (Proportional(), {"a": 60_000, "b": 10_000}, 1, "274 steps; a 60,000 samples once, b 10,000 samples once"),
        (RoundRobin(), {"a": 256, "b": 128}, 2, "2 steps of 2 batches; a 256 samples once, b 128 samples twice"),
        (Uniform(), {"a": 129}, 1, "1 step; a 129 samples once, but for 1"),
        (Temperature(tau=2.0), {"a": 400, "b": 100}, 1, "3 steps; a 400 samples once, b 100 samples twice"),
    ],
    ids=str,
)  # fmt: skip
def test_an_epoch_is_told_in_words(sampling: Option, sizes: dict[str, int], accumulate: int, words: str) -> None:
    assert in_words(plan(sampling, list(sizes.values()), 128), sizes, accumulate) == words


def test_a_ratio_is_kept_exactly_over_many_steps() -> None:
    made = plan(Proportional(), [10**7, 3_333_333], 100)
    step = made.steps // 3
    assert made.taken(step)[1] == int(made.taken(step)[0] * Fraction(3_333_333, 10**7))
