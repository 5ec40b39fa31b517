"""Limits as people write them, and what a sweep is after."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.compress import plan_recipe
from vitedge_core.cost.report import cost
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.goal import DEVICE_JOULES, DEVICE_SECONDS, LOST, Goal, Limit, lost
from vitedge_core.recipe import Recipe


def figure(value, low=None, high=None):
    return Quantity(value, "share", Evidence.MEASURED, "test", low, high)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("weight_bytes <= 5 MB", Limit("weight_bytes", most=5e6)),
        ("weight_bytes<=5e6", Limit("weight_bytes", most=5e6)),
        ("macs ≤ 1.5 GMAC", Limit("macs", most=1.5e9)),
        ("params <= 3 M", Limit("params", most=3e6)),
        ("lost <= 1 point", Limit("lost", most=0.01)),
        ("accuracy >= 90 %", Limit("accuracy", least=0.9)),
        ("latency_seconds <= 50 ms", Limit("latency_seconds", most=0.05)),
        ("device_joules <= 3 mJ", Limit("device_joules", most=0.003)),
    ],
)
def test_limits_are_read(text, limit):
    read = Limit.parse(text)
    assert read.figure == limit.figure
    assert read.most == pytest.approx(limit.most) if limit.most else read.least == pytest.approx(limit.least)
    assert Limit.parse(str(read)) == read


@pytest.mark.parametrize(
    "text",
    [
        "", "weight_bytes", "weight_bytes < 5", "weight_bytes <= five", "weight <= 5 MB", "lost <= 1 MB",
        "weight_bytes <= 5 ms", "macs <= 1.2.3", "macs <= 1e999", "macs <= 5 M and more", 5, None, "x" * 1000,
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused(text):
    with pytest.raises(VitEdgeError):
        Limit.parse(text)


@given(st.floats(0.1, 1e9), st.floats(0.1, 1e9))
def test_excess_has_the_sign_of_what_is_beyond(value, bound):
    most, least = Limit("macs", most=bound), Limit("macs", least=bound)
    assert (most.excess(figure(value)) > 0) == (value > bound)
    assert (least.excess(figure(value)) > 0) == (value < bound)


def test_only_a_whole_interval_breaks_a_limit():
    limit = Limit.parse("lost <= 1 point")
    assert not limit.broken(figure(0.05, 0.005, 0.09))
    assert limit.broken(figure(0.05, 0.02, 0.09))
    assert Limit.parse("accuracy >= 0.9").broken(figure(0.8, 0.7, 0.89))
    assert not Limit.parse("accuracy >= 0.9").broken(figure(0.8, 0.7, 0.91))


def test_lost_turns_a_difference_round():
    turned = lost(figure(-0.02, -0.03, -0.01))
    assert (turned.value, turned.low, turned.high) == (0.02, 0.01, 0.03)


def test_a_plan_tells_the_cheap_figures():
    plan = plan_recipe(Recipe("digits_vit_base")).last
    goal = Goal(("accuracy", "macs", "params"), (Limit.parse("weight_bytes <= 1 MB"), Limit.parse("lost <= 0.1")))
    figures = goal.planned(plan)
    assert set(figures) == {"macs", "params", "weight_bytes"}
    assert figures["macs"] == cost(plan).macs
    assert set(goal.excesses({**figures, LOST: figure(0.3)})) == {"weight_bytes <= 1e+06", "lost <= 0.1"}
    with pytest.raises(VitEdgeError, match="accuracy could not be measured"):
        goal.values(figures)
    assert goal.values({**figures, "accuracy": figure(0.9)})[0] == 0.9


def test_latency_and_energy_on_a_device():
    goal = Goal(("accuracy", DEVICE_SECONDS, DEVICE_JOULES), device="Raspberry Pi 4B")
    goal.check()
    figures = goal.planned(plan_recipe(Recipe("deit_tiny_patch16_224")).last)
    assert figures[DEVICE_SECONDS].unit == "s"
    assert figures[DEVICE_SECONDS].evidence is Evidence.PREDICTED
    assert figures[DEVICE_JOULES].unit == "J"
    smaller = goal.planned(plan_recipe(Recipe("vit_tiny_patch16_224")).last)
    assert smaller[DEVICE_SECONDS].value == pytest.approx(figures[DEVICE_SECONDS].value, rel=0.3)
    with pytest.raises(VitEdgeError):
        Goal(("accuracy", DEVICE_SECONDS), device="Commodore 64").check()
