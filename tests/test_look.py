"""A look: exact Gramians, rows scaled by the coefficients, draws that depend on nothing drawn before."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtl_cli import gramian
from mtl_cli.contracts import Column
from mtl_cli.gramian import gramian_of
from mtl_cli.look import Look, constant

C = torch.tensor([0.5, 2.0, -3.0], dtype=torch.float64)


def look_at(*jacobians: Tensor, shares: Tensor | None = None, c: Tensor = C) -> Look:
    tasks = ("type", "keys", "train")[: len(jacobians[0])]
    nothing = torch.zeros(len(tasks), dtype=jacobians[0].dtype)
    look = Look(tasks, nothing, torch.ones_like(nothing), 3, 7)
    look.hold(list(jacobians), shares, (Column("w", 0, torch.Size([jacobians[0].shape[1]])),))
    look.c_T = c.to(nothing)
    return look


def rows(count: int, seed: int, tasks: int = 3) -> Tensor:
    return torch.randn(tasks, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_gramian_of_many_chunks_waits_for_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, cpu = [], Tensor.cpu
    monkeypatch.setattr(gramian, "CHUNK", 16)
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: moved.append(tensor.shape) or cpu(tensor))
    first, second = rows(50, seed=0), rows(50, seed=1)
    torch.testing.assert_close(gramian_of(first, second), first @ second.T)
    assert moved == [(4, 3, 3)]


def test_a_gramian_over_no_columns_is_zero() -> None:
    assert torch.equal(gramian_of(rows(0, seed=0), rows(0, seed=1)), torch.zeros(3, 3, dtype=torch.float64))


def test_a_gramian_of_long_float32_rows_is_that_of_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    offset = torch.tensor([[1.0], [3.0], [0.0], [-2.0]])
    long = (offset + torch.randn(4, 300_000, generator=generator)).float()
    exact = long.double() @ long.double().T
    found = gramian_of(long, long)
    norms = exact.diagonal().sqrt()
    assert found.dtype == torch.float64
    assert float(((found - exact).abs() / (norms[:, None] * norms)).max()) < 1e-6


@settings(max_examples=25)
@given(width=st.integers(0, 40), chunk=st.integers(1, 41), seed=st.integers(0, 99))
def test_a_gramian_is_the_same_however_its_columns_are_cut(width: int, chunk: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randint(-9, 10, (3, width), generator=generator) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gramian, "CHUNK", chunk)
        found = gramian_of(first.float(), second.float())
    assert torch.equal(found, (first @ second.T).double())


def test_rows_gramian_and_norms_are_scaled_by_the_coefficients() -> None:
    jacobian = rows(11, 0)
    look = look_at(jacobian)
    scaled = C[:, None] * jacobian
    torch.testing.assert_close(look.rows(), scaled)
    torch.testing.assert_close(look.gramian(), scaled @ scaled.T)
    torch.testing.assert_close(
        look.norms(), torch.tensor([float(row.square().sum()) ** 0.5 for row in scaled]).double()
    )
    torch.testing.assert_close(look.gramian(scaled=False), jacobian @ jacobian.T)
    for t in range(3):
        torch.testing.assert_close(look.row(t), scaled[t])


def test_a_gramian_follows_the_coefficients_wherever_they_are_set() -> None:
    first = rows(5, 1)
    seen = look_at(first)
    for c in (C, torch.ones(3, dtype=torch.float64), 2 * C):
        seen.c_T = c
        torch.testing.assert_close(seen.gramian(), c[:, None] * (first @ first.T) * c)
        torch.testing.assert_close(seen.gramian(scaled=False), first @ first.T)


def test_a_look_and_its_rows_are_gone_with_its_last_name() -> None:
    gc.disable()  # nothing has to find a circle first
    try:
        seen = look_at(rows(5, 1))
        seen.combine(C)
        gone = weakref.ref(seen)
        del seen
        assert gone() is None
    finally:
        gc.enable()


def test_combining_is_the_weighted_sum_of_the_scaled_rows_and_is_remembered() -> None:
    look = look_at(rows(11, 0))
    weights = torch.tensor([1.0, 0.25, 4.0], dtype=torch.float64)
    torch.testing.assert_close(look.combine(weights), weights @ look.rows())
    torch.testing.assert_close(look.weights_T, weights)


def test_independent_batches_are_seen_as_each_ones_own_mean_and_together_as_the_whole() -> None:
    first, second = rows(9, 0), rows(9, 1)
    shares = torch.tensor([[0.25, 0.5, 1.0], [0.75, 0.5, 0.0]], dtype=torch.float64)
    second[2] = 0  # no label of the third task in the second batch
    look = look_at(first, second, shares=shares)
    mean_1 = C[:, None] * first / shares[0][:, None]
    mean_2 = C[:, None] * second / torch.tensor([[0.75], [0.5], [1.0]])
    whole = C[:, None] * (first + second)
    torch.testing.assert_close(look.rows(0), mean_1)
    torch.testing.assert_close(look.rows(1), mean_2)
    torch.testing.assert_close(look.gramian(0, 1), mean_1 @ mean_2.T)
    torch.testing.assert_close(look.gramian(1, 0), mean_2 @ mean_1.T)
    torch.testing.assert_close(look.gramian(0, 0), mean_1 @ mean_1.T)
    torch.testing.assert_close(look.gramian(0), mean_1 @ whole.T)
    torch.testing.assert_close(look.rows(), whole)
    torch.testing.assert_close(look.gramian(), whole @ whole.T)
    torch.testing.assert_close(look.combine(torch.ones(3)), whole.sum(0))


def test_a_gramian_elsewhere_is_of_the_rows_there_summed_over_processes() -> None:
    look = look_at(rows(9, 0))
    there = rows(4, 5)
    look.hold_at("trunk", there, lambda gramian: 2 * gramian)
    torch.testing.assert_close(look.gramian(at="trunk"), 2 * (C[:, None] * there) @ (C[:, None] * there).T)
    torch.testing.assert_close(look.norms(at="trunk", scaled=False), 2**0.5 * there.norm(dim=1))


def test_a_second_look_that_was_not_declared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs should declare again=True. Found again=False."):
        look_at(rows(3, 0)).again()


def drawn(seed: int, step: int, name: str) -> list[float]:
    nothing = torch.zeros(1)
    return torch.rand(4, generator=Look(("a",), nothing, nothing, seed, step).generator(name)).tolist()


def test_a_draw_is_a_function_of_seed_step_and_name_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = drawn(3, 7, "pcgrad")
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert drawn(3, 7, "pcgrad") == first
    others = [drawn(4, 7, "pcgrad"), drawn(3, 8, "pcgrad"), drawn(3, 7, "rlw"), drawn(37, 7, "pcgrad")]
    assert len({tuple(draw) for draw in [first, *others]}) == 5


def test_a_column_says_where_a_parameter_lies() -> None:
    assert Column("w", 5, torch.Size([2, 3])).stop == 11
    assert Column("scalar", 5, torch.Size([])).stop == 6


def test_coefficients_that_were_first_wanted_without_gradients_can_be_differentiated_with() -> None:
    with torch.inference_mode():
        ones_T = constant(1.0, torch.zeros(7))
    weight = torch.ones(7, requires_grad=True)
    (ones_T * weight).sum().backward()
    assert weight.grad is not None
    assert constant(1.0, torch.zeros(7)) is ones_T
