"""Whole blocks: which ones go, which must stay, and what a person may write."""

from __future__ import annotations

import pytest
import tiny
import torch

from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.importance import influences
from vitedge_core.techniques.pruning.layer_drop import LayerDrop


def decided(host: str, **knobs) -> LayerDrop:
    model = tiny.network(host)
    return LayerDrop(**knobs).decide(model, tiny.plan_of(model), tiny.context())


def test_a_block_that_does_nothing_goes_first():
    model = tiny.network("plain")
    with torch.no_grad():
        for layer in (model.blocks[1].attn.proj, model.blocks[1].mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
        expected = model(tiny.images(2))
    scores = influences(model, blocks(model), tiny.images(8))
    assert scores[1] < 1e-6 < min(scores[0], scores[2])
    found = LayerDrop(ratio=0.34).decide(model, tiny.plan_of(model), tiny.context())
    assert found.dropped == (1,)
    with torch.no_grad():
        assert torch.equal(found.apply(model, tiny.context())(tiny.images(2)), expected)


def test_influence_is_one_minus_the_mean_cosine():
    model, images = tiny.network("swin"), tiny.images(40)
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = blocks(model)[2].block.register_forward_hook(lambda module, arguments, y: pairs.append((arguments[0], y)))
    with torch.no_grad():
        model(images)
    hook.remove()
    x, y = (tensor.flatten(0, -2).double() for tensor in pairs[0])
    expected = 1 - ((x * y).sum(1) / x.norm(dim=1) / y.norm(dim=1)).mean()
    found = influences(model, blocks(model), images)[2]
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("host", "ratio", "left"), [("plain", 0.9, 1), ("plain", 0.34, 2), ("plain", 0.0, 3), ("swin", 0.9, 2)]
)
def test_how_many_stay(host, ratio, left):
    plan = tiny.plan_of(tiny.network(host))
    found = decided(host, ratio=ratio)
    assert len(found.plan(plan).blocks) == len(LayerDrop(ratio=ratio).plan(plan).blocks) == left


def test_every_stage_keeps_a_block():
    found = decided("swin", ratio=0.9)
    assert {index // 2 for index in found.dropped or ()} == {0, 1}


@pytest.mark.parametrize("text", ["0,2", "2 0", " 2, 0, 2 ", "00,02"])
def test_named_blocks_go(text):
    plan = tiny.plan_of(tiny.network("plain"))
    assert LayerDrop(blocks=text).supports(plan) is None
    assert decided("plain", blocks=text).dropped == (0, 2)
    assert LayerDrop(blocks=text).plan(plan).exact


@pytest.mark.parametrize(
    ("text", "reason"),
    [("3", "blocks 0 to 2"), ("-1", "blocks 0 to 2"), ("one", "'one'"), ("1.5", "'1.5'"), ("²", "'²'"),
     ("9" * 100, "blocks 0 to 2"), ("0,1,2", "at least one block")],
)  # fmt: skip
def test_what_cannot_be_dropped_is_said(text, reason):
    assert reason in (LayerDrop(blocks=text).supports(tiny.plan_of(tiny.network("plain"))) or "")


def test_networks_without_blocks_are_refused():
    assert "no transformer blocks" in (LayerDrop().supports(tiny.plan_of(tiny.network("convnet"))) or "")


def test_the_estimate_is_exact_only_where_all_blocks_cost_the_same():
    plain, swin = (tiny.plan_of(tiny.network(host)) for host in ("plain", "swin"))
    assert LayerDrop(ratio=0.34).plan(plain).exact
    assert not LayerDrop(ratio=0.34).plan(plain.keep_hidden(0, 10)).exact
    assert not LayerDrop(ratio=0.34).plan(swin).exact
