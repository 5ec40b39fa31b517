"""Pruned weights stay zero through training, copies and cuts, and leave no trace in what is saved."""

from __future__ import annotations

import copy
import io

import pytest
import tiny
import torch
from torch import nn

from vitedge_core.surgery.heads import keep_heads
from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.linear import keep_inputs, keep_outputs
from vitedge_core.surgery.masks import carry_mask, keep_zeros, mask_of, masked_layers, set_mask
from vitedge_core.surgery.train import Schedule, fit


def layer_with_zeros() -> tuple[nn.Linear, torch.Tensor]:
    layer = nn.Linear(6, 4)
    kept = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    set_mask(layer, kept)
    return layer, kept


def test_zeros_survive_momentum_and_weight_decay():
    model = tiny.network("plain")
    kept = torch.rand_like(model.blocks[0].mlp.fc1.weight) > 0.5
    set_mask(model.blocks[0].mlp.fc1, kept)
    batches = [next(tiny.stream(seed)) for seed in range(4)]
    loss = lambda network, batch: nn.functional.cross_entropy(network(batch.images), batch.labels)  # noqa: E731
    fit(model, batches, loss, Schedule(steps=4, lr=1e-2, average=0.9), after_step=keep_zeros)
    weight = model.blocks[0].mlp.fc1.weight
    assert not weight[~kept].any()
    assert weight[kept].all()


def test_without_them_the_optimiser_would_fill_the_zeros():
    layer, kept = layer_with_zeros()
    layer.weight.data += 1
    assert layer.weight[~kept].all()
    keep_zeros(layer)
    assert not layer.weight[~kept].any()


def test_masks_are_cut_with_their_layer():
    layer, kept = layer_with_zeros()
    keep_outputs(layer, [3, 0])
    keep_inputs(layer, [1, 4, 5])
    found = mask_of(layer)
    assert found is not None
    assert torch.equal(found, kept[[3, 0]][:, [1, 4, 5]])
    assert torch.equal(found, layer.weight != 0)


def test_masks_are_cut_with_their_heads():
    model = tiny.network("plain")
    attn = blocks(model)[0].attn
    set_mask(attn.qkv, torch.rand_like(attn.qkv.weight) > 0.5)
    keep_heads(attn, [1])
    mask = mask_of(attn.qkv)
    assert mask is not None
    assert torch.equal(mask, attn.qkv.weight != 0)


def test_copies_have_their_own_mask_and_replacements_the_same():
    layer, kept = layer_with_zeros()
    other, replacement = copy.deepcopy(layer), nn.Linear(6, 4)
    carry_mask(layer, replacement)
    keep_outputs(layer, [0])
    for found in (mask_of(other), mask_of(replacement)):
        assert found is not None
        assert torch.equal(found, kept)


def test_the_saved_layer_is_an_ordinary_one():
    layer, _ = layer_with_zeros()
    stored = io.BytesIO()
    torch.save(layer.state_dict(), stored)
    stored.seek(0)
    fresh = nn.Linear(6, 4)
    fresh.load_state_dict(torch.load(stored, weights_only=True), strict=True)
    assert torch.equal(fresh.weight, layer.weight)


def test_only_pruned_layers_are_listed():
    model = tiny.network("plain")
    assert not list(masked_layers(model))
    set_mask(model.blocks[2].attn.proj, torch.ones(48, 48, dtype=torch.bool))
    assert [path for path, _, _ in masked_layers(model)] == ["blocks.2.attn.proj"]


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="must be bool of shape"):
        set_mask(nn.Linear(6, 4), torch.ones(6, 4, dtype=torch.bool))
