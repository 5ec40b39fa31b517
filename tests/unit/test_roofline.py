"""Operations under a device's roof."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.compress import plan_recipe
from vitedge_core.cost.devices import device, devices
from vitedge_core.cost.report import cost
from vitedge_core.cost.roofline import Bound, arithmetic_bits, moved_bytes, roofline
from vitedge_core.evidence import Evidence
from vitedge_core.models.trace import trace
from vitedge_core.plan import Kind, Op, Plan
from vitedge_core.recipe import Recipe, Step

PI = device("Raspberry Pi 5")  # 76.8 GMAC/s in float, 307 in int8, 17.1 GB/s
MODEL = "digits_vit_base"


def one_op(**fields: object) -> Plan:
    return Plan("made up", (3, 8, 8), 10, (), (Op("layer", Kind.LINEAR, **fields),))  # type: ignore[arg-type]


def w8a8(model: str = MODEL) -> Plan:
    return plan_recipe(Recipe(model, (Step.of("uniform_ptq", w_bits=8, a_bits=8),))).last


def test_a_large_product_waits_for_arithmetic_and_a_small_one_for_memory():
    large = one_op(rows=1_000, inputs=1_000, outputs=1_000, weights=10**6, reads=10**6, writes=10**6)
    (point,) = roofline(large, PI).points
    assert point.bound is Bound.COMPUTE
    assert point.seconds == pytest.approx(1e9 / 76.8e9)
    assert point.macs_per_second == pytest.approx(76.8e9)
    single = one_op(rows=1, inputs=1_000, outputs=1_000, weights=10**6, reads=1_000, writes=1_000)
    (point,) = roofline(single, PI).points
    assert point.bound is Bound.MEMORY
    assert point.seconds == pytest.approx(4 * (10**6 + 2_000) / 17.1e9)
    assert point.intensity == pytest.approx(0.25, rel=0.01)


@given(
    macs=st.tuples(*[st.integers(1, 2_000)] * 3), moved=st.integers(0, 10**8), w=st.integers(2, 32),
    a=st.integers(2, 32), place=st.integers(0, len(devices()) - 1),
)  # fmt: skip
def test_no_point_is_above_the_roof(macs, moved, w, a, place):
    rows, inputs, outputs = macs
    plan = one_op(rows=rows, inputs=inputs, outputs=outputs, weights=inputs * outputs, reads=moved, writes=moved,
                  w_bits=w, a_bits=a)  # fmt: skip
    chosen = devices()[place]
    (point,) = roofline(plan, chosen).points
    peak, reached = chosen.macs_per_second(max(w, a)), point.macs_per_second * (1 - 1e-9)
    if peak:
        assert reached <= peak
    if chosen.bandwidth:
        assert reached <= point.intensity * chosen.bandwidth
    assert (point.bound is Bound.UNKNOWN) == (not peak or not chosen.bandwidth)


@pytest.mark.parametrize("model", [MODEL, "swin_tiny_patch4_window7_224", "mobilevit_xxs"])
def test_sums_keep_everything(model):
    plan = trace(model)
    found = roofline(plan, PI)
    for part in (found.points, found.by_kind, found.by_block):
        assert sum(point.macs for point in part) == plan.macs
        assert sum(point.seconds for point in part) == pytest.approx(found.seconds.value)
        assert sum(point.share for point in part) == pytest.approx(1)
    assert sum(p.moved for p in found.by_kind) == sum(p.moved for p in found.points)


def test_bytes_are_those_of_the_cost_report():
    plan = w8a8()
    moved = {point.label: point.moved for point in roofline(plan, PI).by_kind}
    named = {kind: sum(op.header + op.buffers for op in plan.ops if op.kind.value == kind) for kind in moved}
    compared = 0
    for part in cost(plan).by_kind:
        if part.label in moved and part.macs:
            reported = part.weight_bytes + part.read_bytes + part.written_bytes - named[part.label]
            assert moved[part.label] == pytest.approx(reported, rel=1e-3)
            compared += 1
    assert compared >= 5


def test_the_floor_is_below_the_sum_and_both_are_predictions():
    for chosen in devices():
        found = roofline(trace(MODEL), chosen)
        if found.seconds is None:
            assert found.missing
            continue
        assert found.floor.value <= found.seconds.value
        assert found.seconds.evidence is found.floor.evidence is Evidence.PREDICTED


def test_what_is_unpublished_is_said_in_a_sentence_and_never_guessed():
    hailo = roofline(trace(MODEL), device("Hailo-8"))
    assert hailo.seconds is None
    assert any("32-bit arithmetic" in sentence and "only for 8 bits" in sentence for sentence in hailo.missing)
    assert any("No memory bandwidth of Hailo-8" in sentence for sentence in hailo.missing)
    assert all(point.bound is Bound.UNKNOWN for point in hailo.points)
    nothing = roofline(trace(MODEL), device("Snapdragon 8 Elite Gen 5"))
    assert [sentence[:14] for sentence in nothing.missing] == ["No peak of Sna", "No memory band"]
    assert all(sentence.endswith(".") for sentence in nothing.missing)
    assert roofline(trace(MODEL), PI).missing == ()


def test_fewer_bits_raise_the_roof_and_move_fewer_bytes():
    before, after = roofline(trace(MODEL), PI), roofline(w8a8(), PI)
    assert after.seconds.value < before.seconds.value
    assert {bits for bits, _ in after.peaks} == {8, 32}
    old, new = ({p.label: p for p in found.by_kind} for found in (before, after))
    assert new[Kind.MLP.value].intensity > old[Kind.MLP.value].intensity
    assert new[Kind.MLP.value].macs_per_second > old[Kind.MLP.value].macs_per_second


def test_weights_alone_in_few_bits_are_multiplied_in_float():
    op = Op("layer", Kind.LINEAR, rows=1, inputs=8, outputs=8, weights=64, w_bits=4)
    assert arithmetic_bits(op) == 32
    assert arithmetic_bits(op, 16) == 16
    assert arithmetic_bits(replace(op, a_bits=8)) == 8
    assert moved_bytes(op) == 32
    assert moved_bytes(replace(op, w_bits=32), 16) == 128


def test_zeros_change_nothing_under_the_roof():
    zeros = plan_recipe(Recipe(MODEL, (Step.of("magnitude", ratio=0.75),))).last
    assert roofline(zeros, PI).seconds == roofline(trace(MODEL), PI).seconds


def test_a_runtime_in_half_precision_uses_its_own_peak():
    orin = device("Jetson Orin NX 16GB")
    assert roofline(trace(MODEL), orin, 16).seconds.value < roofline(trace(MODEL), orin).seconds.value / 2
    assert roofline(trace(MODEL), device("iPhone 13/14 (A15)")).missing
    assert not roofline(trace(MODEL), device("iPhone 13/14 (A15)"), 16).missing
