"""Each reason appears exactly when its condition holds, and none for a recipe that keeps its promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.compress import plan_recipe
from vitedge_core.cost.own_devices import Machine
from vitedge_core.cost.reasons import (
    BEHIND,
    CALLS,
    LANES,
    MEMORY,
    ODD,
    SOME_ZEROS,
    Cause,
    odd_macs,
    odd_share,
    promise,
    reasons,
)
from vitedge_core.cost.roofline import roofline
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.counter_proof import counter, prove
from vitedge_core.plan import Kind, Op, Plan
from vitedge_core.recipe import Recipe, Step

MODEL = "digits_vit_base"
QUICK = Machine("a processor", "2.14", 5e10, 1e10, 1e-9, None)


def measured(value: float, width: float = 0.02, unit: str = "ratio") -> Quantity:
    return Quantity(value, unit, Evidence.MEASURED, "a stopwatch", value * (1 - width), value * (1 + width))


def planned(*steps: Step, model: str = MODEL):
    return plan_recipe(Recipe(model, steps))


def causes(found) -> set[Cause]:
    return {reason.cause for reason in found}


def layers(*ops: Op) -> Plan:
    return Plan("made up", (3, 8, 8), 10, (), ops)


def layer(**fields: int) -> Op:
    shape = {"rows": 100, "inputs": 64, "outputs": 64, "reads": 6_400, "writes": 6_400, **fields}
    return Op("layer", Kind.LINEAR, weights=shape["inputs"] * shape["outputs"], **shape)


ZEROS = Step.of("magnitude", ratio=0.75)
ROUNDED = Step.of("uniform_ptq", w_bits=8, a_bits=8)
CUT = Step.of("head_mlp_magnitude", ratio=0.5)


def test_nothing_is_said_of_a_recipe_that_keeps_its_promise():
    for steps in ((), (CUT,), (Step.of("layer_drop", ratio=0.5),), (Step.of("tome", r=8),)):
        found = planned(*steps)
        dense = found.last.macs / found.plans[0].macs
        assert reasons(found.plans[0], found.last, measured(dense), measured(1e-3, unit="s"), QUICK) == ()


def test_zeros_are_neither_size_nor_speed():
    found = planned(ZEROS)
    (first, *_) = told = reasons(found.plans[0], found.last)
    assert first.cause is Cause.ZEROS
    assert "zero" in first.sentence
    named = dict(first.evidence)
    assert named["weights that are zero"].value == pytest.approx(0.75, abs=0.05)
    assert causes(told) >= {Cause.ZEROS}
    kept = promise(found.plans[0], found.last)
    assert not kept.size_follows
    assert not kept.time_follows
    assert kept.work == pytest.approx(0.25, abs=0.01)


def test_rounding_is_no_speed_but_its_file_is_small():
    found = planned(ROUNDED)
    told = reasons(found.plans[0], found.last, measured(1.0))
    assert Cause.ROUNDING in causes(told)
    assert promise(found.plans[0], found.last).size_follows
    assert Cause.ZEROS not in causes(told)


@given(st.floats(0, 0.99), st.floats(0.05, 1.5))
def test_zeros_are_named_exactly_when_there_are_enough_and_something_lags(share, ratio):
    before = layers(layer())
    after = layers(replace(layer(), zeros=int(share * 4_096)))
    told = reasons(before, after, measured(ratio))
    lags = not (
        promise(before, after, measured(ratio)).size_follows and ratio * 0.98 <= BEHIND * (1 - after.zeros / 4_096)
    )
    assert (Cause.ZEROS in causes(told)) == (lags and after.zeros / 4_096 >= SOME_ZEROS)


@given(st.integers(1, 8), st.sampled_from((0.25, 0.5)), st.booleans())
def test_amdahl_speaks_when_what_was_left_alone_sets_the_limit(left, kept, slow):
    alone = [replace(layer(rows=100), path="left") for _ in range(left)]
    before = layers(layer(rows=800), *alone)
    after = layers(layer(rows=int(800 * kept)), *alone)
    share = left / (8 + left)
    dense = share + (1 - share) * kept
    told = reasons(before, after, measured(dense if slow else kept))
    limited = dense * 0.98 > BEHIND * kept and share >= 0.1
    assert (Cause.UNTOUCHED in causes(told)) == (slow and limited)
    if told:
        (reason,) = (reason for reason in told if reason.cause is Cause.UNTOUCHED)
        assert dict(reason.evidence)["MACs that were not touched"].value == pytest.approx(share)


@given(st.integers(33, 64), st.booleans())
def test_odd_channels_are_named_only_when_the_time_lags(width, slow):
    before, after = layers(layer(outputs=64)), layers(layer(outputs=width))
    told = reasons(before, after, measured(1.0 if slow else width / 64))
    late = slow and BEHIND * width / 64 < 0.98
    assert (Cause.ODD_CHANNELS in causes(told)) == (late and width % LANES != 0)


def test_odd_share_is_by_work_and_attention_products_do_not_count():
    ops = (
        layer(rows=300),
        layer(rows=100, outputs=60),
        Op("a.scores", Kind.ATTENTION, rows=10**6, inputs=7, outputs=7),
    )
    assert odd_share(ops) == pytest.approx(100 * 60 / (300 * 64 + 100 * 60))
    assert odd_share(ops[2:]) == 0
    assert ODD < 1


@pytest.mark.parametrize("call", [1e-6, 1e-4])
def test_calls_are_named_when_they_take_much_of_the_time(call):
    found = planned(CUT)
    machine, seconds = replace(QUICK, call_seconds=call), measured(2e-3, unit="s")
    told = reasons(found.plans[0], found.last, measured(0.95), seconds, machine)
    calls = sum(1 for op in found.last.ops if op.macs or op.reads or op.writes)
    assert (Cause.CALLS in causes(told)) == (calls * call / 2e-3 >= CALLS)
    assert Cause.CALLS not in causes(reasons(found.plans[0], found.last, measured(0.95), seconds, None))


@pytest.mark.parametrize(("bytes_per_second", "holds"), [(1e8, True), (1e10, True), (1e13, False)])
def test_memory_is_named_when_the_roof_says_so(bytes_per_second, holds):
    copy = Op("copy", Kind.ELEMENTWISE, rows=1, reads=10**6, writes=10**6)
    before, after = layers(layer(rows=1_000), copy), layers(layer(rows=400), copy)
    machine = replace(QUICK, bytes_per_second=bytes_per_second)
    found = roofline(after, machine.device)
    assert (found.memory_share >= MEMORY) == holds
    assert (Cause.MEMORY in causes(reasons(before, after, measured(1.0), None, machine))) == holds
    assert Cause.MEMORY not in causes(reasons(before, after, measured(0.4), None, machine))
    assert Cause.MEMORY not in causes(reasons(before, after, measured(1.0), None, None))


@pytest.mark.parametrize(
    ("steps", "cause", "expected"),
    [
        ((ZEROS,), Cause.ZEROS, (Step.of("head_mlp_magnitude", ratio=0.75),)),
        ((CUT, ROUNDED), Cause.ROUNDING, (CUT,)),
        ((CUT,), Cause.CALLS, "layer_drop"),
        ((ZEROS,), Cause.UNTOUCHED, None),
        ((CUT,), Cause.ZEROS, None),
        ((), Cause.ROUNDING, None),
    ],
)
def test_the_counter_recipe_is_the_same_with_the_cause_removed(steps, cause, expected):
    found = counter(planned(*steps), cause)
    if expected is None:
        assert found is None
    elif isinstance(expected, str):
        assert [step.technique for step in found.recipe.active] == [expected]
    else:
        assert found.recipe.active == expected
        assert found.title


def test_an_odd_share_is_rounded_to_multiples_of_eight():
    before = planned(Step.of("head_mlp_magnitude", ratio=0.35, heads=False))
    assert odd_macs(before.last.ops) > odd_macs(before.plans[0].ops)
    found = counter(before, Cause.ODD_CHANNELS)
    after = plan_recipe(found.recipe)
    assert odd_macs(after.last.ops) == odd_macs(before.plans[0].ops)
    assert abs(found.recipe.active[0].knobs["ratio"] - 0.35) < 0.05


def test_the_counter_proof_times_three_models_in_turn():
    recipe = Recipe("digits_vit_small", (ZEROS,))
    found = counter(plan_recipe(recipe), Cause.ZEROS)
    told = []
    proof = prove(recipe, found, seconds=0.3, report=lambda share, text: told.append(share))
    assert proof.ours.evidence is Evidence.MEASURED
    assert proof.counter_ratio.value < proof.ours_ratio.value  # the intervals may overlap on a busy machine
    assert min(told) >= 0
    assert max(told) == 1
