"""Energy from published costs of operations and bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.compress import plan_recipe
from vitedge_core.cost.devices import device
from vitedge_core.cost.energy import at_full_power, energy, mac_joules
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.models.trace import trace
from vitedge_core.plan import Kind, Op, Plan
from vitedge_core.recipe import Recipe, Step

MODEL = "digits_vit_base"


def one_op(**fields: object) -> Plan:
    return Plan("made up", (0, 0, 0), 10, (), (Op("layer", Kind.LINEAR, **fields),))  # type: ignore[arg-type]


def after(*steps: Step) -> Plan:
    return plan_recipe(Recipe(MODEL, steps)).last


@pytest.mark.parametrize(
    ("bits", "picojoules"),
    [(32, 3.7 + 0.9), (8, 0.2 + 0.1), (4, 0.2 + 0.1), (16, 0.2 * 15.5**0.5 + 0.1)],
)
def test_a_multiply_accumulate_costs_what_the_table_says(bits, picojoules):
    assert mac_joules(bits) == pytest.approx(picojoules * 1e-12)


def test_half_precision_floats_have_their_own_entry():
    assert mac_joules(16, 16) == pytest.approx(1.5e-12)
    assert mac_joules(8, 16) == pytest.approx(0.3e-12)


@given(st.integers(2, 31))
def test_wider_numbers_never_cost_less(bits):
    assert mac_joules(bits) <= mac_joules(bits + 1)


def test_bytes_cost_what_the_table_says():
    report = energy(one_op(weights=10, reads=6, writes=2))
    assert report.arithmetic.value == 0
    assert (report.weights.low, report.weights.high) == pytest.approx((40 * 162.5e-12, 40 * 325e-12))
    assert (report.activations.low, report.activations.high) == pytest.approx((32 * 12.5e-12, 32 * 325e-12))
    assert report.activations.value == report.activations.low  # 32 bytes stay in the cache
    large = energy(one_op(reads=2**20, writes=0))
    assert large.activations.value == pytest.approx(2**22 * (162.5 * 325) ** 0.5 * 1e-12)


def test_the_total_is_the_sum_and_a_prediction_with_a_range():
    report = energy(trace(MODEL))
    parts = (report.arithmetic, report.weights, report.activations)
    assert report.arithmetic.low is None
    for end in ("low", "value", "high"):
        told = [getattr(part, end) or part.value for part in parts]
        assert getattr(report.total, end) == pytest.approx(sum(told))
    assert report.total.evidence is Evidence.PREDICTED
    assert report.total.unit == "J"
    assert "Horowitz" in report.total.source
    assert "45 nm" in report.total.source


@pytest.mark.parametrize(
    "steps",
    [
        (Step.of("uniform_ptq", w_bits=8, a_bits=8),),
        (Step.of("head_mlp_magnitude", ratio=0.5),),
        (Step.of("tome", r=4),),
    ],
)
def test_what_compresses_saves_energy(steps):
    before, now = energy(trace(MODEL)).total, energy(after(*steps)).total
    assert now.low < before.low
    assert now.value < before.value
    assert now.high < before.high


def test_zeros_save_nothing():
    assert energy(after(Step.of("magnitude", ratio=0.75))) == energy(trace(MODEL))


def test_power_bounds_the_energy_where_it_is_published():
    latency = Quantity(0.05, "s", Evidence.PREDICTED, "a roofline", 0.04, 0.07)
    bound = at_full_power(device("Raspberry Pi 5"), latency)
    assert (bound.value, bound.low, bound.high) == pytest.approx((0.6, 0.48, 0.84))
    assert "12 W" in bound.source
    assert at_full_power(device("iPhone 12 (A14)"), latency) is None
