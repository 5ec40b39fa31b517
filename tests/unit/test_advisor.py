"""The advisor: limits, chances, ranks, the nearest miss, and what gives."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_points import timed
from vitedge_core.cost.edge_latency import EdgeLatencies
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments import advisor
from vitedge_core.experiments.advisor import HERE, LOST, TIME, Condition, Wish, advise
from vitedge_core.experiments.evaluation import Evaluation
from vitedge_core.experiments.runs import Run
from vitedge_core.recipe import Recipe, Step

PI = "Raspberry Pi 5"
MODEL = "digits_vit_small"
MACS = Quantity.exact(1_000_000, "MAC", "the plan")


@pytest.fixture(scope="module")
def latencies() -> EdgeLatencies:
    found = EdgeLatencies()
    found.examples = tuple(row for row in found.examples if row.target.device in {PI, "Raspberry Pi 4B"})
    return found


@pytest.fixture(autouse=True)
def no_offers(monkeypatch):
    monkeypatch.setattr(advisor, "_offers", lambda models: ())


def share(value: float, spread: float = 0.01) -> Quantity:
    return Quantity(value, "share", Evidence.MEASURED, "counted", value - spread, value + spread)


def run(*steps: Step, accuracy: float, lost: float, n: int = 500, model: str = MODEL) -> Run:
    found = Evaluation(
        Recipe(model, steps), "digits", "d1", n, {"accuracy": share(accuracy + lost), "macs": MACS},
        {"accuracy": share(accuracy), "macs": MACS},
        share(-lost, 0.004),
    )  # fmt: skip
    return Run(found, n, "Digits", "w", 1.0, 1.0)


BITS8, BITS4 = Step.of("uniform_ptq", w_bits=8, a_bits=8), Step.of("uniform_ptq", w_bits=4, a_bits=8)
RUNS = (
    run(BITS8, accuracy=0.93, lost=0.005),
    run(BITS4, accuracy=0.91, lost=0.025),
    run(Step.of("head_mlp_magnitude", ratio=0.5), BITS8, accuracy=0.60, lost=0.335),
)


def test_a_wish_needs_a_limit_that_makes_sense():
    with pytest.raises(VitEdgeError, match="at least one limit"):
        Wish(PI)
    with pytest.raises(VitEdgeError, match="time must be a number above 0"):
        Wish(PI, seconds=-1.0)
    assert Wish(lost=0.0).lost == 0


def test_an_unknown_device_names_the_nearest(latencies):
    with pytest.raises(VitEdgeError, match="Raspberry Pi 5"):
        advise(RUNS, [MODEL], Wish("Raspbery Pi 5", seconds=1.0), latencies)


def test_what_fits_is_ranked_by_accuracy_and_the_model_itself_is_among_it(latencies):
    found = advise(RUNS, [MODEL], Wish(PI, file_bytes=1e7, lost=0.03), latencies)
    assert [one.recipe.steps for one in found.fitting] == [(), (BITS8,), (BITS4,)]
    assert [one.accuracy.value for one in found.fitting] == [0.935, 0.93, 0.91]
    assert found.considered == 4
    assert not found.gives


def test_a_gamble_stands_behind_what_is_sure(latencies):
    risky = run(BITS8, accuracy=0.95, lost=0.01)
    time = advise([risky], [MODEL], Wish(PI, seconds=9.0), latencies).fitting
    limit = next(one for one in time if one.recipe.steps).conditions[0].figure.value
    sure = run(Step.of("uniform_ptq", w_bits=8, a_bits=8, observer="minmax"), accuracy=0.6, lost=0.0)
    found = advise([risky, sure], [MODEL], Wish(PI, seconds=1.02 * limit, lost=0.01), latencies).fitting
    ranked = [one for one in found if one.recipe.steps]
    assert [one.recipe for one in ranked] == [sure.recipe, risky.recipe]
    assert ranked[1].chance == pytest.approx(0.25, abs=0.01)  # two limits, each as likely to hold as not


def test_the_binding_limit_is_the_one_most_in_danger(latencies):
    found = advise(RUNS, [MODEL], Wish(PI, file_bytes=1e9, lost=0.006), latencies)
    best = next(one for one in found.fitting if one.recipe.steps)
    assert best.binding.name == LOST
    assert 0.5 < best.chance < 0.9


def test_times_are_of_targets_that_compute_such_numbers(latencies):
    found = advise(RUNS, [MODEL], Wish(PI, seconds=10.0), latencies)
    precision = {one.recipe.steps: one.target and one.target.precision for one in (*found.fitting, *found.missing)}
    assert precision[(BITS8,)] == "int8"
    assert "fp16" in precision[()]
    assert precision[(BITS4,)] is None  # no engine there computes 4 bits
    four = next(one for one in found.missing if one.recipe.steps == (BITS4,))
    assert four.conditions[0].figure is None
    assert len(four.conditions[0].why) > 20


def test_the_nearest_miss_and_what_gives(latencies):
    size = {one.recipe.steps: one.conditions[0].figure.value
            for one in advise(RUNS, [MODEL], Wish(file_bytes=1e12), latencies).fitting}  # fmt: skip
    hopeless = run(Step.of("head_mlp_magnitude", ratio=0.05), accuracy=0.92, lost=0.015)  # breaks both
    found = advise((hopeless, *RUNS), [MODEL], Wish(file_bytes=size[(BITS4,)] * 1.01, lost=0.01), latencies)
    assert not found.fitting
    given = {one.name: one for one in found.gives}
    assert given[LOST].advice.recipe.steps == (BITS4,)
    assert given[LOST].limit.value == pytest.approx(0.025)
    assert given["file"].advice.recipe.steps == (BITS8,)
    assert given["file"].limit.value == size[(BITS8,)]
    worst = [one.excess for one in found.missing]
    assert worst == sorted(worst)
    assert worst[0] > 0


def test_what_nobody_measured_is_offered_if_its_costs_fit(latencies, monkeypatch):
    small, large = Recipe(MODEL, (BITS4,)), Recipe("digits_vit_base")
    monkeypatch.setattr(advisor, "_offers", lambda models: (small, large, RUNS[0].recipe))
    found = advise(RUNS[:1], [MODEL, "digits_vit_base"], Wish(file_bytes=1e6), latencies)
    assert [one.recipe for one in found.untried] == [small]
    assert found.untried[0].accuracy is None


def test_on_this_machine_only_what_was_timed_has_a_time(latencies):
    known = timed(0.5, 0.010, paired=0.5)
    known = replace(known, evaluation=replace(known.evaluation, recipe=Recipe(MODEL, (BITS8,))))
    found = advise([known, RUNS[1]], [MODEL], Wish(HERE, seconds=0.006), latencies)
    assert [one.recipe.steps for one in found.fitting] == [(BITS8,)]
    assert found.fitting[0].conditions[0].figure.value == pytest.approx(0.005)
    assert "not timed" in next(one for one in found.missing if one.recipe.steps == (BITS4,)).conditions[0].why


@given(st.floats(1e-3, 1.0), st.floats(1.01, 3.0), st.floats(1e-4, 3.0), st.floats(1.0, 2.0))
def test_chances_follow_the_interval(value, spread, limit, more):
    figure = Quantity(value, "s", Evidence.PREDICTED, "model", value / spread, value * spread)
    chance = Condition(TIME, limit, figure).chance
    assert 0 <= chance <= 1
    assert Condition(TIME, limit * more, figure).chance >= chance - 1e-12
    assert (chance >= 0.5) == (limit >= value)
    assert Condition(TIME, value * spread, figure).chance == pytest.approx(0.9)  # an 80 % interval ends at 10 and 90 %
    exact = Quantity.exact(value, "byte", "counted")
    assert Condition("file", limit, exact).chance == float(value <= limit)


def test_a_difference_has_a_95_percent_interval():
    lost = Condition(LOST, 0.01, Quantity(0.0, "share", Evidence.MEASURED, "paired", -0.01, 0.01))
    assert lost.chance == pytest.approx(NormalDist().cdf(NormalDist().inv_cdf(0.975)))
    assert lost.excess == pytest.approx(-0.2)
    assert Condition(TIME, 1.0, None).excess == math.inf


def test_a_focused_sweep_stays_near_the_best_recipe_and_within_the_limits(latencies):
    wish = Wish(PI, seconds=0.02, file_bytes=3e5, lost=0.02)
    space = advisor.focused(advise(RUNS, [MODEL], wish, latencies))
    assert space is not None
    space.check()
    assert space.recipe in {run.recipe for run in RUNS}
    assert all(min(axis.values) < max(axis.values) for axis in space.axes)
    assert {limit.figure: limit.most for limit in space.goal.limits} == {
        "weight_bytes": 3e5, "lost": 0.02, "device_seconds": 0.02,
    }  # fmt: skip
    assert (space.total, space.goal.device) == (min(30, space.size), PI)
    assert advisor.focused(advise((), [], wish, latencies)) is None
