"""Numbers as people say them."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.text.human import MINUS, NO_DIFFERENCE, badge, change, faster, human, interval, speed


def quantity(value: float, unit: str, low: float | None = None, high: float | None = None) -> Quantity:
    return Quantity(value, unit, Evidence.MEASURED, "a test", low, high)


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (5_717_416, "parameter", "5.72 M"),
        (999, "parameter", "999"),
        (999_960, "parameter", "1.00 M"),
        (17_563_828_224, "MAC", "17.6 GMAC"),
        (84_052_736, "MAC", "84.1 MMAC"),
        (22_883_608, "byte", "22.9 MB"),
        (12, "byte", "12 B"),
        (0, "byte", "0 B"),
        (0.0123, "s", "12.3 ms"),
        (0.000_045, "s", "45.0 µs"),
        (2.5, "s", "2.50 s"),
        (0.784, "share", "78.4 %"),
        (0.571, "ratio", "0.571×"),
        (12, "image", "12 image"),
    ],
)
def test_values(value, unit, said):
    assert human(quantity(value, unit)) == said


def test_flops_are_two_for_each_mac():
    assert human(quantity(1e9, "MAC"), flops=True) == "2.00 GFLOP"
    assert human(quantity(1e9, "byte"), flops=True) == "1.00 GB"


def test_differences_carry_a_sign_and_a_true_minus():
    assert human(quantity(-0.012, "share"), signed=True) == f"{MINUS}1.2 points"
    assert human(quantity(0.012, "share"), signed=True) == "+1.2 points"
    assert human(quantity(0, "share"), signed=True) == "±0.0 points"
    assert human(quantity(-5e6, "byte")) == f"{MINUS}5.00 MB"


@pytest.mark.parametrize(
    ("before", "after", "unit", "said"),
    [
        (100, 57, "MAC", f"{MINUS}43 %"),
        (100, 350, "MAC", "+250 %"),
        (100, 96.5, "byte", f"{MINUS}3.5 %"),
        (10_000, 9_996, "byte", f"{MINUS}0.04 %"),
        (1e9, 1e9 - 1, "byte", "≈0 %"),
        (7, 7, "byte", "±0 %"),
        (0, 3e6, "byte", "+3.00 MB"),
        (0.9, 0.88, "share", f"{MINUS}2.0 points"),
    ],
)
def test_changes(before, after, unit, said):
    assert change(quantity(before, unit), quantity(after, unit)) == said


def test_intervals():
    assert interval(quantity(0.784, "share", 0.761, 0.805)) == "76.1 to 80.5 %"
    assert interval(quantity(0.95, "s", 0.9, 1.1)) == "900 ms to 1.10 s"
    assert interval(quantity(-0.01, "share", -0.02, 0.005)) == f"{MINUS}2.0 to +0.5 points"
    assert interval(quantity(1, "MAC", 1, 1)) == "exact"
    assert interval(quantity(1, "MAC")) == ""
    assert badge(quantity(1, "MAC")) == "measured"


@given(st.floats(1e-9, 1e15), st.sampled_from(["MAC", "byte", "s", "parameter", "J"]))
@example(0.99951, "s")
@example(999.6, "byte")
def test_what_is_said_is_within_half_a_figure_of_the_value(value, unit):
    value = value if unit in {"s", "J"} else 1 + value
    number, _, symbol = human(quantity(value, unit)).partition(" ")
    prefix = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "m": 1e-3, "µ": 1e-6, "n": 1e-9}
    scale = 1.0 if symbol in {"MAC", "B", "s", "J", ""} else prefix[symbol[0]]
    assert math.isclose(float(number) * scale, value, rel_tol=0.0051)
    assert len(number.replace(".", "").lstrip("0")) <= 4 or value >= 1e15


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.5, 0.45, 0.55, "2.00× as fast"),
        (1.3, 1.2, 1.4, "1.30× as long"),
        (0.9, 0.8, 1.0, NO_DIFFERENCE),
        (0.2, 0.1, 1.5, NO_DIFFERENCE),
        (1.1, 0.99, 1.2, NO_DIFFERENCE),
        (0.5, None, None, NO_DIFFERENCE),
        (1.0, 1.0, 1.0, "the baseline"),
    ],
)
def test_a_speed_whose_interval_holds_1_is_no_difference(value, low, high, said):
    assert speed(quantity(value, "ratio", low, high)) == said


def test_how_many_times_as_fast_turns_the_interval_round():
    found = faster(quantity(0.5, "ratio", 0.4, 0.8))
    assert (found.value, found.low, found.high) == (2, 1.25, 2.5)
    assert (faster(quantity(0.5, "ratio")).low, faster(quantity(0.5, "ratio")).high) == (None, None)
