"""Whether figures with intervals fit a budget, and what a target's precision does to memory and energy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.cost.budget import Budget, Fit, holds, together, within
from vitedge_core.cost.edge_report import at_precision, kind_of
from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.energy import energy
from vitedge_core.cost.memory import peak_memory
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.models.trace import trace

POSITIVE = st.floats(1e-6, 1e6)


@given(st.lists(POSITIVE, min_size=3, max_size=3), POSITIVE)
def test_maybe_exactly_when_the_limit_is_inside_the_interval(ends, limit):
    low, value, high = sorted(ends)
    told = within(Quantity(value, "s", Evidence.PREDICTED, "a model", low, high), limit)
    assert told is (Fit.YES if high <= limit else Fit.NO if low > limit else Fit.MAYBE)
    assert within(Quantity(value, "s", Evidence.PREDICTED, "a model", low, high), None) is Fit.YES
    assert within(None, limit) is Fit.UNKNOWN


def test_only_larger_variants_of_a_device_may_hold_it():
    quantity = Quantity(3e9, "byte", Evidence.PREDICTED, "counted")
    assert holds(quantity, (4e9, 8e9)) is Fit.YES
    assert holds(quantity, (2e9, 4e9)) is Fit.MAYBE
    assert holds(quantity, (1e9, 2e9)) is Fit.NO
    assert holds(quantity, ()) is Fit.UNKNOWN


@given(st.lists(st.sampled_from(Fit), max_size=5))
def test_the_worst_condition_decides(fits):
    told = together(fits)
    order = (Fit.NO, Fit.MAYBE, Fit.UNKNOWN, Fit.YES)
    assert told is min(fits, key=order.index, default=Fit.YES)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_budget_is_a_sentence(limit):
    with pytest.raises(VitEdgeError, match="above 0"):
        Budget(bytes=limit)


def test_a_target_carries_the_plan_out_at_its_precision():
    plan = trace("digits_vit_base")
    full, half, whole = (
        at_precision(plan, Target("Raspberry Pi 5", "ncnn CPU", precision)) for precision in ("fp32", "fp16", "w8a8")
    )
    assert full == (plan, 32)
    assert half == (plan, 16)
    products = [op for op in whole[0].ops if op.macs]
    assert {op.a_bits for op in products} == {8}
    assert {op.w_bits for op in products if op.weights} == {8}
    assert whole[0].macs == plan.macs
    joules = [energy(*found).total.value for found in (whole, half, full)]
    assert joules == sorted(joules)
    assert energy(*whole).arithmetic.value == pytest.approx(plan.macs * 0.3e-12)
    assert peak_memory(whole[0]) < peak_memory(plan)


def test_the_kind_of_a_target_is_told_by_its_runtime_first():
    assert kind_of(Target("Samsung Galaxy S24", "onnx [NPU]", "w8a8")) == "npu"
    assert kind_of(Target("Dragonwing RB3 Gen 2 Vision Kit", "onnx [CPU]", "w8a8")) == "cpu"
    assert kind_of(Target("Raspberry Pi 5 GPU", "ncnn Vulkan", "fp16")) == "gpu"
    assert kind_of(Target("Jetson Nano 4GB", "TensorRT", "fp16")) == "gpu"
