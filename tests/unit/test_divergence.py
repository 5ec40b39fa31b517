"""Drift between two models: nothing between equal ones, the right block to blame, nothing left behind."""

from __future__ import annotations

import copy
import math

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from referee import carried_out, hooks_on

from vitedge_core.explain.divergence import EXACT, FALLEN, decibels, divergence, likeness
from vitedge_core.explain.lineage import origins
from vitedge_core.techniques.pruning.head_mlp_magnitude import HeadMlpMagnitude
from vitedge_core.techniques.pruning.layer_drop import LayerDrop
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq
from vitedge_core.techniques.tokens.tome import Tome


def drift(host, *techniques):
    before = tiny.network(host)
    after, plans, decided = copy.deepcopy(before), [tiny.plan_of(before)], []
    for technique in techniques:
        settled = technique.decide(after, plans[-1], tiny.context())
        after, plan = carried_out(technique, after, plans[-1], tiny.context())
        plans.append(plan)
        decided.append(settled)
    found = divergence(before, after, origins(plans, decided), [tiny.images(4), tiny.images(3, 1)])
    assert not [*hooks_on(before), *hooks_on(after)]
    return found


@pytest.mark.parametrize("host", ["plain", "distilled", "registers", "swin", "convnet"])
def test_equal_models_do_not_drift(host):
    found = drift(host)
    assert found.n == 7
    assert found.kind == ("layer" if host == "convnet" else "block")
    for layer in found.layers:
        assert layer.sqnr.value == layer.sqnr.low == EXACT
        assert layer.cosine.value == pytest.approx(1)
        assert layer.alone is None or layer.alone.value == EXACT
    assert found.first is None
    assert found.guilty is None


@given(st.floats(1e-3, 1e2))
def test_decibels_are_those_of_the_error_added(size):
    generator = torch.Generator().manual_seed(0)
    signal, noise = (torch.randn(2, 5, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    noise *= size * (signal.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1))[:, None, None]
    expected = torch.full((2,), -20 * math.log10(size), dtype=torch.float64)
    torch.testing.assert_close(decibels(signal, signal + noise), expected, atol=1e-6, rtol=0)


def test_edges_of_decibels_and_likeness():
    zero, one = torch.zeros(1, 2, 4), torch.ones(1, 2, 4)
    assert decibels(zero, zero).item() == EXACT
    assert decibels(zero, one).item() == -EXACT
    assert likeness(one, -one).item() == pytest.approx(-1)
    assert likeness(one, 5 * one).item() == pytest.approx(1)


@pytest.mark.parametrize("host", ["plain", "swin"])
def test_the_block_that_does_it_is_blamed(host):
    """Only the second block is changed: those before it agree, it alone strays, those behind it only inherit."""
    before = tiny.network(host)
    after = copy.deepcopy(before)
    blocks = [m for m in after.modules() if hasattr(m, "mlp") and hasattr(m, "attn")]
    with torch.no_grad():
        blocks[1].mlp.fc2.weight.mul_(-2)
    plan = tiny.plan_of(before)
    found = divergence(before, after, origins([plan], []), [tiny.images(6)])
    first, second, *others = found.layers
    assert first.sqnr.value == EXACT
    assert second.sqnr.value == pytest.approx(second.alone.value, abs=1e-6)
    assert second.alone.value < 40
    assert all(layer.alone.value == EXACT and layer.sqnr.value < 60 for layer in others)
    assert found.guilty is second


@pytest.mark.parametrize("host", ["plain", "swin"])
def test_fewer_bits_stray_further(host):
    worst = [
        min(layer.sqnr.value for layer in drift(host, UniformPtq(w_bits=b, a_bits=b)).layers) for b in (2, 4, 8)
    ]  # fmt: skip
    assert worst == sorted(worst)
    assert worst[0] < FALLEN < worst[2]


def test_the_first_that_falls_is_the_first_below_the_limit_with_its_whole_interval():
    found = drift("plain", UniformPtq(w_bits=2, a_bits=2))
    assert found.first is next(layer for layer in found.layers if layer.sqnr.high < FALLEN)
    assert f"below {FALLEN:.0f} dB" in found.rule


def test_a_removed_block_is_named_and_the_others_are_matched():
    found = drift("plain", LayerDrop(blocks="1"))
    assert [layer.removed for layer in found.layers] == [False, True, False]
    assert found.layers[0].sqnr.value == EXACT
    assert found.layers[1].sqnr is None
    assert found.layers[2].alone.value == EXACT, "compared with the block that it was"
    assert found.guilty is found.layers[1]


def test_merged_tokens_are_compared_where_their_patches_were():
    found = drift("plain", Tome(r=4))
    assert all(layer.sqnr is not None and 0 < layer.sqnr.value < EXACT for layer in found.layers)
    assert found.layers[0].sqnr.value > found.layers[-1].sqnr.value
    assert found.layers[0].sqnr.value == pytest.approx(found.layers[0].alone.value)


def test_nothing_merged_is_nothing_lost():
    assert drift("registers", HeadMlpMagnitude(ratio=0.0)).first is None


def test_no_hook_stays_after_an_error():
    before, after = tiny.network("plain"), tiny.network("plain")
    lineage = origins([tiny.plan_of(before)], [])
    with pytest.raises(RuntimeError):
        divergence(before, after, lineage, [torch.zeros(1, 5, tiny.SIDE, tiny.SIDE)])
    with pytest.raises(ZeroDivisionError):
        divergence(before, after, lineage, [tiny.images(1)], lambda done: 1 / 0)
    assert not [*hooks_on(before), *hooks_on(after)]
