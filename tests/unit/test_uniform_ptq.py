"""Uniform quantisation as a technique: what is rounded, to how many levels, and that the plan knows."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from referee import carried_out, claimed, same, state_of
from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.models.trace import trace
from vitedge_core.plan import Kind
from vitedge_core.surgery.grid import AFFINE, MINMAX, MSE, OBSERVERS
from vitedge_core.surgery.open_attention import OpenAttention, OpenWindowAttention
from vitedge_core.surgery.replace import grids, put, quantised_layers
from vitedge_core.techniques.base import Context
from vitedge_core.techniques.pruning.magnitude import Magnitude
from vitedge_core.techniques.quantization.uniform_ptq import CHANNEL, EIGHT, IN_FLOAT, TENSOR, UniformPtq

HOSTS = list(tiny.HOSTS)


def quantised(host: str, **knobs: object):
    model = tiny.network(host)
    after, plan = carried_out(UniformPtq(**knobs), model, tiny.plan_of(model), tiny.context())
    return model, after, plan


def error(host: str, **knobs: object) -> float:
    model, after, _ = quantised(host, **knobs)
    with torch.no_grad():
        expected = model(tiny.images(12))
        return float((after(tiny.images(12)) - expected).norm() / expected.norm())


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("bits", [17, 32])
def test_bypass_is_bit_for_bit(host, bits):
    model, after, plan = quantised(host, w_bits=bits, a_bits=bits)
    with torch.no_grad():
        assert torch.equal(after(tiny.images(3)), model(tiny.images(3)))
    assert plan == tiny.plan_of(model)


@pytest.mark.parametrize(("host", "kind"), [("registers", OpenAttention), ("swin", OpenWindowAttention)])
def test_products_written_out_are_those_of_timm(host, kind):
    model = tiny.network(host)
    opened = copy.deepcopy(model)
    for path, module in model.named_modules():
        if path.endswith(".attn"):
            attention = kind(copy.deepcopy(module))
            attention.open_products()
            put(opened, path, attention)
    with torch.no_grad():
        torch.testing.assert_close(opened(tiny.images(3)), model(tiny.images(3)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("ends", [IN_FLOAT, EIGHT])
def test_the_plan_names_exactly_what_is_rounded(host, ends):
    _, after, plan = quantised(host, w_bits=4, a_bits=5, ends=ends)
    weights = {op.path: op.w_bits for op in plan.ops if op.weights and op.w_bits < 32}
    inputs = {op.path: op.a_bits for op in plan.ops if op.a_bits < 32}
    found = {path: grid.bits for path, grid in grids(after)}
    assert weights == {p.removesuffix(".weight_grid"): bits for p, bits in found.items() if p.endswith(".weight_grid")}
    assert {p: bits for p, bits in inputs.items() if not p.endswith((".scores", ".mix"))} == {
        p.removesuffix(".input_grid"): bits for p, bits in found.items() if p.endswith(".input_grid")
    }
    products = {p.partition(".products")[0] for p in found if ".products" in p}
    assert products == {p.rpartition(".")[0] for p in inputs if p.endswith(".scores")}
    assert products == {p.rpartition(".")[0] for p in inputs if p.endswith(".mix")}
    first = next(op for op in plan.ops if op.weights and op.macs)
    assert first.a_bits == 32, "the image itself is not rounded"
    for end in (first, *(op for op in plan.ops if op.kind is Kind.HEAD)):
        assert end.w_bits == (32 if ends == IN_FLOAT else 8)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("granularity", [CHANNEL, TENSOR])
def test_weights_have_few_levels(host, granularity):
    _, after, _ = quantised(host, w_bits=3, a_bits=32, w_granularity=granularity, w_scheme=AFFINE)
    layers = list(quantised_layers(after))
    assert layers
    for _, layer in layers:
        rounded = layer.weight_grid(layer.weight)
        rows = rounded.flatten(1) if granularity == CHANNEL else rounded.reshape(1, -1)
        assert all(len(row.unique()) <= 8 for row in rows)
        assert isinstance(layer, nn.Linear | nn.Conv2d)


@pytest.mark.parametrize("host", ["plain", "convnet"])
@pytest.mark.parametrize("observer", OBSERVERS)
def test_more_bits_change_less(host, observer):
    errors = [error(host, w_bits=bits, a_bits=bits, observer=observer) for bits in (4, 6, 8, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


@pytest.mark.parametrize("observer", [MINMAX, MSE])
def test_a_scale_per_channel_fits_better(observer):
    """For every layer, in its own measure."""
    model, by_channel, _ = quantised("plain", w_bits=4, a_bits=32, observer=observer)
    _, whole, _ = quantised("plain", w_bits=4, a_bits=32, observer=observer, w_granularity=TENSOR)
    for path, layer in quantised_layers(by_channel):
        exact = model.get_submodule(path).weight
        other = whole.get_submodule(path)
        fine, coarse = (module.weight_grid(exact) - exact for module in (layer, other))
        assert fine.square().mean() <= coarse.square().mean()


def test_products_of_attention_can_stay_in_float():
    _, after, plan = quantised("plain", attention=False)
    assert not any(".products" in path for path, _ in grids(after))
    assert all(op.a_bits == 32 for op in plan.ops if op.kind is Kind.ATTENTION)


def test_weights_alone_need_no_images():
    held = Context(torch.zeros(0, 3, tiny.SIDE, tiny.SIDE))
    model = tiny.network("plain")
    after, _ = carried_out(UniformPtq(w_bits=4, a_bits=32), model, tiny.plan_of(model), held)
    with torch.no_grad():
        assert after(tiny.images(2)).isfinite().all()


@pytest.mark.parametrize("observer", OBSERVERS)
def test_same_images_same_scales(observer):
    states = [state_of(quantised("plain", observer=observer)[1]) for _ in range(2)]
    assert same(*states)


def test_pruned_weights_stay_zero():
    model = tiny.network("plain")
    plan = tiny.plan_of(model)
    model, plan = carried_out(Magnitude(ratio=0.5), model, plan, tiny.context())
    zeros = plan.zeros
    for scheme in ("symmetric", AFFINE):
        after, later = carried_out(UniformPtq(w_bits=3, w_scheme=scheme), model, plan, tiny.context())
        rounded = [layer.weight_grid(layer.weight) for _, layer in quantised_layers(after)]
        assert sum(int((weight == 0).sum()) for weight in rounded) >= zeros > 0
        assert later.zeros == zeros


def test_a_quantised_model_learns():
    """Gradients pass the grids: a few steps lower the loss, and the weights stay on their grids."""
    _, model, _ = quantised("plain", w_bits=4, a_bits=8)
    images, labels = tiny.images(32), tiny.labels(32)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None for name, p in model.named_parameters() if name.endswith("weight"))
    assert losses[-1] < 0.7 * losses[0]
    for _, layer in quantised_layers(model):
        assert all(len(row.unique()) <= 16 for row in layer.weight_grid(layer.weight).flatten(1))


def test_it_is_refused_a_second_time():
    _, _, plan = quantised("plain")
    assert "already" in str(UniformPtq().supports(plan))


def test_networks_of_another_kind_are_refused_at_once():
    """Before there are weights: from the name."""
    assert "layers.0.blocks.0.attn" in str(UniformPtq().supports(trace("swinv2_tiny_window8_256")))
    assert "StdConv2dSame" in str(UniformPtq().supports(trace("vit_tiny_r_s16_p8_224")))


def test_layers_of_another_kind_are_named():
    class Standardised(nn.Conv2d):
        pass

    model = tiny.network("convnet")
    plan = tiny.plan_of(model)
    model.stem.conv = Standardised(3, 8, 3, stride=2, padding=1, bias=False)
    with pytest.raises(VitEdgeError, match=r"stem\.conv, which is a Standardised"):
        UniformPtq().decide(model, plan, tiny.context())


@pytest.mark.parametrize("host", ["plain", "swin"])
@pytest.mark.parametrize("keep_bits", [8, 32])
def test_spared_blocks_keep_more_bits_in_both_faces(host, keep_bits):
    """Plan, file and model agree, block by block: the truth is in the grids."""
    _, after, plan = quantised(host, w_bits=3, a_bits=4, keep="0, 2", keep_bits=keep_bits)
    found = {path: grid.bits for path, grid in grids(after)}
    for number, block in enumerate(plan.blocks):
        inside = {bits for path, bits in found.items() if path.startswith(f"{block.path}.")}
        weights = {op.w_bits for op in plan.ops if op.block == number and op.weights and op.macs}
        if number not in {0, 2}:
            assert (inside, weights) == ({3, 4}, {3})
        elif keep_bits == 8:
            assert (inside, weights) == ({8}, {8})
        else:
            assert (inside, weights) == (set(), {32})
    assert claimed(plan) == claimed(tiny.plan_of(tiny.network(host)))


def test_sparing_never_takes_bits_away():
    _, spared, _ = quantised("plain", w_bits=10, a_bits=12, keep="1", keep_bits=4)
    _, plain, _ = quantised("plain", w_bits=10, a_bits=12)
    assert same(state_of(spared), state_of(plain))


def test_a_spared_block_hurts_less():
    assert error("plain", w_bits=3, a_bits=8, keep="0 1 2") < 0.5 * error("plain", w_bits=3, a_bits=8)


@pytest.mark.parametrize("keep", ["3", "-1", "first", "1,x", "1" * 400, "²"])
def test_a_block_that_is_not_there_is_a_sentence(keep):
    plan = tiny.plan_of(tiny.network("plain"))
    assert "uniform_ptq.keep names" in str(UniformPtq(keep=keep).supports(plan))
    assert "no transformer blocks" in str(UniformPtq(keep="0").supports(tiny.plan_of(tiny.network("convnet"))))
