"""Single weights: exact counts, nested masks, and zeros shown as zeros."""

from __future__ import annotations

import pytest
import tiny
import torch

from vitedge_core.surgery.masks import masked_layers
from vitedge_core.techniques.pruning.magnitude import Magnitude

HOSTS = ["plain", "swin", "convnet"]


def pruned(host: str, **knobs):
    model = tiny.network(host)
    plan = tiny.plan_of(model)
    found = Magnitude(**knobs).decide(model, plan, tiny.context())
    return found.apply(model, tiny.context()), found.plan(plan), plan


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("ranking", ["per layer", "global"])
def test_zeros_are_counted_exactly(host, ranking):
    model, plan, _ = pruned(host, ratio=0.37, ranking=ranking)
    for op in plan.ops:
        if op.zeros:
            assert op.zeros == int((model.get_submodule(op.path).weight == 0).sum())
    weights = sum(op.weights for op in plan.ops if op.zeros)
    assert plan.zeros == pytest.approx(0.37 * weights, abs=len(plan.ops))


@pytest.mark.parametrize("host", HOSTS)
def test_globally_the_total_is_exact_and_no_kept_weight_is_smaller_than_a_pruned_one(host):
    original = tiny.network(host)
    model, plan, _ = pruned(host, ratio=0.5, ranking="global")
    masks = {path: mask for path, _, mask in masked_layers(model)}
    total = sum(mask.numel() for mask in masks.values())
    assert plan.zeros == int(total * 0.5 + 0.5)
    before = {path: original.get_submodule(path).weight.detach().abs() for path in masks}
    assert max(before[p][~m].max() for p, m in masks.items() if (~m).any()) <= min(
        before[p][m].min() for p, m in masks.items() if m.any()
    )


@pytest.mark.parametrize("ranking", ["per layer", "global"])
def test_masks_are_nested(ranking):
    less, more = (
        {path: mask for path, _, mask in masked_layers(pruned("plain", ratio=r, ranking=ranking)[0])}
        for r in (0.3, 0.6)
    )
    assert all(not (more[path] & ~less[path]).any() for path in less)


def test_stem_classifier_biases_and_norms_are_left_alone():
    model, _, _ = pruned("plain", ratio=0.9)
    untouched = tiny.network("plain")
    for name, parameter in model.named_parameters():
        if not (name.startswith("blocks.") and name.endswith("weight") and parameter.ndim == 2):
            assert torch.equal(parameter, untouched.get_parameter(name)), name


def test_nothing_shrinks():
    _, plan, before = pruned("plain", ratio=0.9)
    assert (plan.params, plan.macs, plan.blocks) == (before.params, before.macs, before.blocks)


def test_a_second_round_adds_to_the_first():
    model, plan, _ = pruned("plain", ratio=0.5)
    first = {path: mask.clone() for path, _, mask in masked_layers(model)}
    for ratio, ranking in ((0.3, "per layer"), (0.3, "global"), (0.7, "per layer")):
        found = Magnitude(ratio=ratio, ranking=ranking).decide(model, plan, tiny.context())
        model, plan = found.apply(model, tiny.context()), found.plan(plan)
        for path, layer, mask in masked_layers(model):
            assert not (mask & ~first[path]).any()
            assert torch.equal(mask, layer.weight != 0)
    assert plan.zeros == sum(int((layer.weight == 0).sum()) for _, layer, _ in masked_layers(model))


def test_all_equal_weights_lose_no_more_than_their_share():
    model = tiny.network("plain")
    torch.nn.init.constant_(model.blocks[0].mlp.fc1.weight, 0.5)
    found = Magnitude(ratio=0.25).decide(model, tiny.plan_of(model), tiny.context())
    model = found.apply(model, tiny.context())
    assert int((model.blocks[0].mlp.fc1.weight == 0).sum()) == model.blocks[0].mlp.fc1.weight.numel() // 4
