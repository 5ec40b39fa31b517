"""Runs side by side: what differs, and by more than chance."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_runs import a_run
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity, wilson
from vitedge_core.experiments.run_compare import Verdict, compare, difference
from vitedge_core.experiments.run_list import Entry
from vitedge_core.recipe import Recipe, Step


def beside(*runs):
    return compare([Entry(f"run {number}", run) for number, run in enumerate(runs)])


def figure(found, name):
    return next(figure for figure in found.figures if figure.name == name)


def with_recipe(run, *steps, model="tiny", seed=0):
    return replace(run, evaluation=replace(run.evaluation, recipe=Recipe(model, steps, seed)))


def with_figure(run, name, value):
    return replace(run, evaluation=replace(run.evaluation, compressed={**run.evaluation.compressed, name: value}))


def lines(found):
    return {f"{line.technique} {line.title}".strip(): (line.cells, line.differs) for line in found.recipe}


def test_knobs_of_the_same_steps_stand_in_one_line():
    first = with_recipe(a_run(), Step.of("tome", r=8), Step.of("head_mlp_magnitude", ratio=0.5, scope="global"))
    second = with_recipe(a_run(), Step.of("head_mlp_magnitude", ratio=0.4), Step.of("uniform_ptq"))
    third = with_recipe(a_run(), Step.of("tome", r=8), Step.of("tome", r=4), Step.of("uniform_ptq", enabled=False))
    assert lines(beside(first, second, third)) == {
        "Model": (("tiny", "tiny", "tiny"), False),
        "tome r": (("8", "–", "8"), True),
        "head_mlp_magnitude ratio": (("0.5", "0.4", "–"), True),
        "head_mlp_magnitude scope": (("global", "default", "–"), True),
        "uniform_ptq": (("–", "used", "–"), True),
    } | {"tome r": (("–", "–", "4"), True)}  # the second time it is used has a line of its own


def test_order_and_seed_are_told_only_where_they_differ():
    steps = Step.of("tome", r=8), Step.of("uniform_ptq", w_bits=8)
    found = lines(beside(with_recipe(a_run(), *steps), with_recipe(a_run(), *reversed(steps), seed=3)))
    assert found["Order of the steps"] == (("tome, uniform_ptq", "uniform_ptq, tome"), True)
    assert found["Seed"] == (("0", "3"), True)
    assert set(lines(beside(a_run(), a_run()))) == {"Model", "head_mlp_magnitude ratio"}


def test_a_difference_counts_where_it_is_larger_than_the_intervals():
    accuracy = figure(beside(a_run(), a_run(accuracy=0.85), a_run(accuracy=0.89), a_run(accuracy=0.9)), "accuracy")
    assert accuracy.verdicts == (Verdict.LARGER, Verdict.WITHIN, Verdict.WITHIN)
    assert accuracy.differs
    assert accuracy.differences[0] is None
    gap = accuracy.differences[1]
    assert (gap.value, gap.low) == (pytest.approx(-0.05), pytest.approx(-0.05 - 0.02 * 2**0.5))


def test_counts_differ_or_are_the_same_and_what_has_no_interval_stays_unsure():
    fewer = with_figure(a_run(), "macs", Quantity.exact(4e5, "MAC", "the plan"))
    assert figure(beside(a_run(), fewer, a_run()), "macs").verdicts == (Verdict.LARGER, Verdict.SAME)
    vague = [with_figure(a_run(), "macs", Quantity(n, "MAC", Evidence.PREDICTED, "a guess")) for n in (1.0, 2.0, 1.0)]
    assert figure(beside(*vague), "macs").verdicts == (Verdict.UNSURE, Verdict.SAME)


def test_accuracies_on_different_images_are_not_compared():
    found = beside(a_run(), a_run(digest="d2"), a_run(accuracy=0.5))
    accuracy = figure(found, "accuracy")
    assert accuracy.verdicts == (Verdict.APART, Verdict.LARGER)
    assert "different images" in accuracy.why
    assert accuracy.differences[1] is None
    assert not any("not kept" in note for note in found.notes)


def test_latencies_are_compared_by_their_ratio_on_one_machine():
    clock = Quantity(0.01, "s", Evidence.MEASURED, "clock", 0.009, 0.011)
    here, there = (with_figure(a_run(timed=True, machine=m), "latency_seconds", clock) for m in ("here", "there"))
    found = beside(here, replace(here, time=9.0), there, a_run())
    apart, missing = Verdict.APART, Verdict.MISSING
    assert figure(found, "latency_seconds").verdicts == (apart, apart, missing)
    assert "ratio" in figure(found, "latency_seconds").why
    assert figure(found, "latency_ratio").verdicts == (Verdict.WITHIN, apart, missing)
    assert "different machines" in figure(found, "latency_ratio").why


def test_latencies_of_different_engines_are_no_difference_of_the_recipes():
    timed = a_run(timed=True, machine="here")
    slow = replace(timed.evaluation.ratio, value=3.0, low=2.9, high=3.1)
    other = replace(timed, engine="OpenVINO", evaluation=replace(timed.evaluation, ratio=slow))
    found = beside(timed, other)
    ratio = figure(found, "latency_ratio")
    assert (ratio.verdicts, ratio.differences, ratio.differs) == ((Verdict.APART,), (None, None), False)
    assert "different engines (PyTorch, eager; OpenVINO)" in ratio.why
    assert "machines" not in ratio.why
    assert any("recipe and engine" in note for note in found.notes)
    assert figure(beside(timed, replace(other, engine=timed.engine)), "latency_ratio").verdicts == (Verdict.LARGER,)
    away = figure(beside(timed, replace(other, machine="there")), "latency_ratio").why
    assert "engines (PyTorch, eager; OpenVINO) and on different machines" in away
    assert away.count(".") == 1, "one sentence"


def test_every_reason_is_said_where_runs_stand_apart_for_several():
    timed = a_run(timed=True, machine="here")
    why = figure(beside(timed, replace(timed, machine="there"), replace(timed, engine="OpenVINO")), "latency_ratio").why
    assert "measured on different machines" in why
    assert "different engines" in why


def test_what_is_relative_to_the_model_is_not_compared_between_models():
    other = with_recipe(a_run(timed=True), Step.of("tome", r=8), model="another")
    found = beside(a_run(timed=True), other)
    assert figure(found, "accuracy_difference").verdicts == (Verdict.APART,)
    assert figure(found, "latency_ratio").verdicts == (Verdict.APART,)
    assert figure(found, "accuracy").verdicts == (Verdict.WITHIN,)


def test_it_says_what_cannot_be_known():
    notes = " ".join(beside(a_run(), a_run(n=100), replace(a_run(), weights="anew", imported=True)).notes)
    for words in ("are not kept with a run", "different numbers of these images", "trained anew", "not checked here"):
        assert words in notes


@pytest.mark.parametrize("count", [0, 1, 7])
def test_two_to_six(count):
    with pytest.raises(VitEdgeError, match="2 to 6"):
        beside(*[a_run()] * count)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_a_difference_turns_its_sign_with_its_sides(one, other):
    a, b = (Quantity(q[1], "share", Evidence.MEASURED, "x", q[0], q[2]) for q in map(sorted, (one, other)))
    there, back = difference(a, b), difference(b, a)
    assert (there.value, there.low, there.high) == (-back.value, -back.high, -back.low)
    assert there.low <= there.value <= there.high


def test_the_interval_of_a_difference_holds_what_it_promises():
    """Against truth: of 2,000 pairs of samples, 95 in 100 intervals hold the true difference."""
    chance = random.Random(3)

    def share(p, n=200):
        right = sum(chance.random() < p for _ in range(n))
        return Quantity(right / n, "share", Evidence.MEASURED, "x", *wilson(right, n))

    held = sum((gap := difference(share(0.9), share(0.8))).low <= -0.1 <= gap.high for _ in range(2_000)) / 2_000
    assert 0.935 <= held <= 0.97
