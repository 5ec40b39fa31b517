"""Intervals by drawing anew: they hold the value, repeat, shrink with n, and cover the truth as often as they say."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core import bootstrap


def normal(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_the_interval_holds_the_mean(values):
    found = bootstrap.mean(torch.tensor(values, dtype=torch.float64), "nat", "a test")
    assert found.low <= found.value <= found.high
    assert min(values) - 1e-6 <= found.low
    assert found.high <= max(values) + 1e-6


def test_equal_values_have_no_spread():
    found = bootstrap.mean(torch.full((30,), 0.25), "share", "a test")
    assert (found.low, found.value, found.high) == (0.25, 0.25, 0.25)


def test_the_same_values_give_the_same_interval_and_more_of_them_a_narrower_one():
    few, again, many = (bootstrap.mean(normal(n), "nat", "a test") for n in (50, 50, 5_000))
    assert few == again
    assert many.high - many.low < 0.2 * (few.high - few.low)


def test_95_percent_are_about_95_percent():
    """Of 200 samples of 60, the interval misses the true mean in few, but in some."""
    found = [bootstrap.mean(normal(60, seed), "nat", "a test") for seed in range(200)]
    covered = sum(one.low <= 0 <= one.high for one in found) / 200
    assert 0.90 <= covered < 1.0


def test_a_ratio_is_paired():
    under = normal(100).abs() + 0.5
    exact = bootstrap.ratio(2 * under, under, "a test")
    assert abs(exact.value - 2) < 1e-9
    assert exact.high - exact.low < 1e-9


def test_pieces_do_not_change_the_draws(monkeypatch):
    values = normal(300)[:, None]
    whole = bootstrap.draws(values, lambda drawn: drawn.mean(1)[:, 0])
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 1_000)
    assert torch.equal(whole, bootstrap.draws(values, lambda drawn: drawn.mean(1)[:, 0]))
    assert len(whole) == bootstrap.RESAMPLES
