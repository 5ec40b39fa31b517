"""Rollout of many images equals rollout of each."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from referee import carried_out, hooks_on, same, state_of

from vitedge_core.errors import VitEdgeError
from vitedge_core.explain import crowd
from vitedge_core.explain.attention import rollout_map
from vitedge_core.explain.crowd import rollouts
from vitedge_core.explain.observer import observe
from vitedge_core.techniques.pruning.head_mlp_magnitude import HeadMlpMagnitude
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq
from vitedge_core.techniques.tokens.tome import Tome

RECIPES = {
    "as it is": [],
    "pruned": [HeadMlpMagnitude(ratio=0.4)],
    "quantised": [UniformPtq(w_bits=6, a_bits=6)],
    "merged": [Tome(r=3)],
}
CASES = [
    (host, name) for host in ("plain", "distilled", "registers", "swin") for name in RECIPES
    if (host, name) != ("swin", "merged")
]  # fmt: skip


@pytest.mark.parametrize(("host", "recipe"), CASES)
def test_many_at_once_are_each_one_alone(host, recipe):
    model = tiny.network(host)
    plan = tiny.plan_of(model)
    for technique in RECIPES[recipe]:
        model, plan = carried_out(technique, model, plan, tiny.context())
    images = tiny.images(5)
    before = state_of(model)
    maps = rollouts(model, images)(images)
    expected = torch.stack([rollout_map(observe(model, image[None])) for image in images])
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-4)
    assert same(before, state_of(model))
    assert not list(hooks_on(model))


def test_a_padded_window_gives_and_takes_nothing():
    """A grid of 6 x 6 in windows of 4: the last windows are padded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tiny.SwinTransformer(
            img_size=12, patch_size=2, window_size=4, embed_dim=24, depths=(2, 2), num_heads=(3, 6), num_classes=5
        ).eval()
    images = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    maps = rollouts(model, images)(images)
    expected = torch.stack([rollout_map(observe(model, image[None])) for image in images])
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(3))


def test_plain_networks_take_the_fast_way(monkeypatch):
    """One observation at each end lends the layout; no more are made."""
    calls = []
    real = crowd.observer

    def counted(model):
        inner = real(model)
        return lambda image, toward: calls.append(1) or inner(image, toward)

    monkeypatch.setattr(crowd, "observer", counted)
    maps_of = rollouts(tiny.network("plain"), tiny.images(3))
    maps_of(tiny.images(12))
    assert len(calls) == 2


def test_without_attention_there_is_a_sentence_and_no_hook():
    model = tiny.network("convnet")
    with pytest.raises(VitEdgeError, match=r"no map of where it looks"):
        rollouts(model, tiny.images(1))
    assert not list(hooks_on(model))


def test_weights_are_shared_not_copied():
    """What changes in the model changes in its maps."""
    model = copy.deepcopy(tiny.network("plain"))
    maps_of = rollouts(model, tiny.images(1))
    before = maps_of(tiny.images(2))
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight.mul_(2)
    assert not torch.allclose(before, maps_of(tiny.images(2)))
