"""Importance by size, and what both ways of removing heads and neurons share."""

from __future__ import annotations

import pytest
import tiny
import torch

from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.importance import magnitudes
from vitedge_core.techniques.pruning.head_mlp_magnitude import HeadMlpMagnitude
from vitedge_core.techniques.pruning.head_mlp_taylor import HeadMlpTaylor
from vitedge_core.techniques.pruning.magnitude import Magnitude

BOTH = [HeadMlpMagnitude, HeadMlpTaylor]


@pytest.mark.parametrize("order", [1, 2])
def test_norms_are_those_of_all_weights_of_a_unit(order):
    model = tiny.network("plain")
    attn, mlp = model.blocks[0].attn, model.blocks[0].mlp
    found = magnitudes(blocks(model), order)[0]
    rows = [slice(part * 48 + 16, part * 48 + 32) for part in range(3)]  # of the second of three heads
    parts = [attn.qkv.weight[r] for r in rows] + [attn.qkv.bias[r] for r in rows] + [attn.proj.weight[:, 16:32]]
    head = torch.cat([part.flatten() for part in parts])
    neuron = torch.cat([mlp.fc1.weight[7], mlp.fc1.bias[7:8], mlp.fc2.weight[:, 7]])
    torch.testing.assert_close(found.heads[1], head.norm(order))
    torch.testing.assert_close(found.hidden[7], neuron.norm(order))


def test_the_smallest_go():
    model = tiny.network("plain")
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight[:10] *= 1e-3
        model.blocks[1].mlp.fc1.bias[:10] = 0
        model.blocks[1].mlp.fc2.weight[:, :10] *= 1e-3
    found = HeadMlpMagnitude(ratio=0.05).decide(model, tiny.plan_of(model), tiny.context())
    assert dict(found.kept or ())["blocks.1"].hidden == tuple(range(10, 192))


def test_globally_a_layer_of_small_weights_is_not_emptied_for_its_scale():
    model = tiny.network("plain")
    with torch.no_grad():
        for parameter in model.blocks[1].mlp.parameters():
            parameter.mul_(1e-3)
    found = HeadMlpMagnitude(ratio=0.5, ranking="global").decide(model, tiny.plan_of(model), tiny.context())
    assert len(dict(found.kept or ())["blocks.1"].hidden) > 48


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("ranking", ["per layer", "global"])
def test_one_head_and_eight_neurons_stay_at_least(cls, ranking):
    model = tiny.network("swin")
    plan = tiny.plan_of(model)
    found = cls(ratio=0.9, ranking=ranking).decide(model, plan, tiny.context())
    for block in found.plan(plan).blocks:
        assert block.heads >= 1
        assert block.hidden >= 8


@pytest.mark.parametrize("cls", BOTH)
def test_switches_say_what_goes(cls):
    model = tiny.network("plain")
    plan = tiny.plan_of(model)
    heads_only, mlp_only = cls(ratio=0.5, mlp=False).plan(plan), cls(ratio=0.5, heads=False).plan(plan)
    assert {(b.heads, b.hidden) for b in heads_only.blocks} == {(1, 192)}
    assert {(b.heads, b.hidden) for b in mlp_only.blocks} == {(3, 96)}
    assert "switch on" in (cls(heads=False, mlp=False).supports(plan) or "")


@pytest.mark.parametrize("cls", BOTH)
def test_more_removed_is_a_superset(cls):
    model = tiny.network("plain")
    plan = tiny.plan_of(model)
    less, more = (dict(cls(ratio=r).decide(model, plan, tiny.context()).kept or ()) for r in (0.3, 0.6))
    assert all(set(more[path].hidden) < set(less[path].hidden) for path in more)


@pytest.mark.parametrize("cls", BOTH)
def test_zeros_of_earlier_steps_are_counted_in_what_stays(cls):
    model = tiny.network("plain")
    plan, context = tiny.plan_of(model), tiny.context()
    first = Magnitude(ratio=0.5).decide(model, plan, context)
    model, plan = first.apply(model, context), first.plan(plan)
    assert not cls().plan(plan).exact
    second = cls().decide(model, plan, context)
    model, plan = second.apply(model, context), second.plan(plan)
    assert plan.exact
    for op in plan.ops:
        if op.zeros:
            assert op.zeros == int((model.get_submodule(op.path).weight == 0).sum())


@pytest.mark.parametrize("cls", BOTH)
def test_an_undecided_technique_is_not_applied(cls):
    with pytest.raises(ValueError, match="decide"):
        cls().apply(tiny.network("plain"), tiny.context())
