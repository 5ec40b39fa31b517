"""Grids: few levels, zero among them, no worse for a search, and gradients that pass."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitedge_core.surgery import grid as grids
from vitedge_core.surgery.grid import AFFINE, MINMAX, MSE, OBSERVERS, PERCENTILE, SYMMETRIC, Grid, Scale, Watch, fit

SCHEMES = [SYMMETRIC, AFFINE]


def sample(seed: int, rows: int = 3, count: int = 400, shift: float = 0.0) -> torch.Tensor:
    """Heavy tails, so that clipping can pay."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, count, generator=generator) ** 3 + shift


def fitted(values: torch.Tensor, bits: int, scheme: str, observer: str = MINMAX) -> Grid:
    step, zero = fit(values, bits, scheme, observer)
    return Grid(Scale(step[:, None], zero[:, None]), bits, scheme)


cases = st.tuples(
    st.integers(0, 999), st.integers(2, 16), st.sampled_from(SCHEMES), st.sampled_from(OBSERVERS), st.floats(-3, 3)
)


@settings(deadline=None, max_examples=60)
@given(cases)
def test_few_levels_idempotent_and_zero_is_one_of_them(case):
    seed, bits, scheme, observer, shift = case
    values = sample(seed, shift=shift)
    grid = fitted(values, bits, scheme, observer)
    rounded = grid(values)
    assert all(len(row.unique()) <= 2**bits for row in rounded)
    assert torch.equal(grid(rounded), rounded)
    assert torch.equal(grid(torch.zeros_like(values)), torch.zeros_like(values))
    codes = grid.codes(values)
    assert 0 <= int(codes.min()) <= int(codes.max()) < 2**bits
    assert torch.equal(grid.values(codes), rounded)
    assert torch.equal(grid.zero, grid.zero.round())


@settings(deadline=None, max_examples=40)
@given(cases)
def test_what_is_not_clipped_moves_by_half_a_step_at_most(case):
    seed, bits, scheme, observer, shift = case
    values = sample(seed, shift=shift)
    grid = fitted(values, bits, scheme, observer)
    low, high = (grid.low - grid.zero) * grid.step, (grid.high - grid.zero) * grid.step
    inside = (values >= low) & (values <= high)
    error = (grid(values) - values).abs()
    assert (error <= grid.step * 0.5 + 1e-6 * values.abs() + 1e-7)[inside].all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("low", "high"), [(2.0, 3.0), (-3.0, -2.0), (-0.5, 4.0)])
def test_the_extremes_clip_nothing(scheme, low, high):
    """Also where zero is not among the values: the range is extended to it."""
    values = torch.linspace(low, high, 1000)[None]
    grid = fitted(values, 8, scheme)
    assert ((grid(values) - values).abs() <= grid.step).all()


@settings(deadline=None, max_examples=40)
@given(cases)
def test_the_search_is_never_worse_than_the_extremes(case):
    seed, bits, scheme, _, shift = case
    values = sample(seed, shift=shift)
    error = {o: (fitted(values, bits, scheme, o)(values) - values).square().mean(1) for o in (MINMAX, MSE)}
    assert (error[MSE] <= error[MINMAX] + 1e-9).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("observer", [MINMAX, MSE])
def test_more_bits_are_closer_and_channels_closer_than_tensors(scheme, observer):
    values = sample(1) * torch.tensor([[1.0], [10.0], [0.1]])
    errors = [
        float((fitted(values, bits, scheme, observer)(values) - values).square().mean()) for bits in (2, 3, 4, 6, 8, 12)
    ]
    assert errors == sorted(errors, reverse=True)
    whole = fitted(values.reshape(1, -1), 4, scheme, observer)
    by_channel = fitted(values, 4, scheme, observer)
    assert (by_channel(values) - values).square().mean() < (whole(values) - values).square().mean()


def test_observers_look_at_what_they_say():
    values = torch.cat([torch.linspace(0, 1, 99_999), torch.tensor([100.0])])[None]
    steps = {observer: float(fit(values, 8, AFFINE, observer).step) for observer in OBSERVERS}
    assert steps[MINMAX] == pytest.approx(100 / 255)
    assert steps[PERCENTILE] == pytest.approx(1 / 255, rel=0.01)
    assert steps[MSE] < steps[MINMAX]


def test_a_percentile_of_everything_is_the_extremes(monkeypatch):
    monkeypatch.setattr(grids, "PERCENT", 1.0)
    values = sample(5)
    for scheme in SCHEMES:
        assert all(map(torch.equal, fit(values, 8, scheme, PERCENTILE), fit(values, 8, scheme, MINMAX)))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("observer", OBSERVERS)
def test_constants_do_no_harm(scheme, observer):
    values = torch.tensor([[0.0, 0.0], [3.0, 3.0], [-3.0, -3.0], [1e-20, 0.0]])
    grid = fitted(values, 8, scheme, observer)
    assert grid.step.isfinite().all()
    assert (grid.step > 0).all()
    torch.testing.assert_close(grid(values), values, atol=0.02, rtol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_gradients_pass_inside_the_range_and_stop_outside(scheme):
    grid = Grid(Scale(torch.tensor(0.1), torch.tensor(7.0 if scheme == AFFINE else 0.0)), 4, scheme)
    x = torch.tensor([-9.0, -0.31, 0.0, 0.44, 9.0], requires_grad=True)
    rounded = grid(x)
    rounded.sum().backward()
    assert torch.equal(rounded.detach(), grid(x.detach()))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_a_watcher_sees_the_extremes_of_everything_that_passed():
    watch = Watch(torch.Generator().manual_seed(0), parts=3)
    batches = [sample(seed, rows=1, count=5000) for seed in range(3)]
    assert all(torch.equal(watch(batch), batch) for batch in batches)
    grid = watch.grid(8, AFFINE, MINMAX)
    assert grid is not None
    everything = torch.cat(batches)
    expected = fit(everything.reshape(1, -1), 8, AFFINE, MINMAX)
    assert (grid.step, grid.zero) == (expected.step[0], expected.zero[0])


def test_a_large_sample_stays_within_its_limits(monkeypatch):
    """More values than `torch.quantile` would take, of which a sample is kept."""
    monkeypatch.setattr(grids, "SAMPLE", 1000)
    watch = Watch(torch.Generator().manual_seed(0), parts=1)
    watch(torch.rand(1_000_00))
    grid = watch.grid(8, AFFINE, PERCENTILE)
    assert grid is not None
    assert float(grid.step) == pytest.approx(1 / 255, rel=0.02)


def test_a_watcher_that_saw_nothing_has_no_grid():
    assert Watch(torch.Generator(), parts=1).grid(8, AFFINE, MINMAX) is None
