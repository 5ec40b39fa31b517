"""Numbers carry what they rest on."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.evidence import Evidence, Quantity, wilson


def test_a_quantity_needs_unit_and_source():
    for unit, source in (("", "x"), ("s", "")):
        with pytest.raises(ValueError, match="needs a unit and a source"):
            Quantity(1, unit, Evidence.MEASURED, source)


@pytest.mark.parametrize(("low", "high"), [(None, 2), (1, None)])
def test_an_interval_has_two_ends(low, high):
    with pytest.raises(ValueError, match="both ends"):
        Quantity(1, "s", Evidence.MEASURED, "x", low, high)


@pytest.mark.parametrize(("low", "high"), [(2, 3), (-1, 0.5), (math.nan, 2)])
def test_the_value_lies_in_its_interval(low, high):
    with pytest.raises(ValueError, match="outside its interval"):
        Quantity(1, "s", Evidence.MEASURED, "x", low, high)


def test_exact_and_weaker():
    count = Quantity.exact(3, "MAC", "counted")
    assert count.is_exact
    assert count.evidence is Evidence.MEASURED
    weaker = count.weaker(Evidence.SIMULATED, "zeros")
    assert (weaker.value, weaker.low, weaker.high, weaker.is_exact) == (3, None, None, False)
    assert count.low == 3, "the first quantity is not touched"
    with pytest.raises(dataclasses.FrozenInstanceError):
        count.value = 4  # type: ignore[misc]


def test_plain_values():
    plain = Quantity(0.5, "share", Evidence.MEASURED, "500 images", 0.4, 0.6).to_dict()
    assert plain == {
        "value": 0.5, "unit": "share", "evidence": "measured", "source": "500 images", "low": 0.4, "high": 0.6,
    }  # fmt: skip


def test_wilson_against_published_values():
    """Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3."""
    for right, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson(right, total, 1.959964) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_holds_the_share_and_mirrors(pair):
    right, total = pair
    low, high = wilson(right, total)
    assert 0 <= low <= right / total <= high <= 1
    mirrored = wilson(total - right, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(("right", "total"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_share(right, total):
    with pytest.raises(ValueError, match="no share"):
        wilson(right, total)
