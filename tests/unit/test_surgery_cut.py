"""Removing heads and neurons is exact, and making up for their mean helps."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.surgery.blocks import drop_blocks
from vitedge_core.surgery.heads import columns_of, keep_heads, rows_of
from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.linear import fold_inputs, keep_inputs, keep_outputs
from vitedge_core.surgery.structure import Kept, cut, inner_means

TRANSFORMERS = ["plain", "distilled", "registers", "swin"]
subsets = st.sets(st.integers(0, 2), min_size=1)


def masked(model: nn.Module, index: int, kept: Kept) -> nn.Module:
    """A copy in which the units that `kept` leaves out give zero: their columns behind them are zeroed."""
    other = copy.deepcopy(model)
    handle = blocks(other)[index]
    columns = torch.zeros(handle.attn.proj.in_features)
    columns[columns_of(kept.heads, handle.head_width)] = 1
    neurons = torch.zeros(handle.hidden)
    neurons[list(kept.hidden)] = 1
    with torch.no_grad():
        handle.attn.proj.weight *= columns
        handle.mlp.fc2.weight *= neurons
    return other


@pytest.mark.parametrize("host", TRANSFORMERS)
@settings(max_examples=8, deadline=None)
@given(heads=subsets, hidden=st.sets(st.integers(0, 95), min_size=1), index=st.integers(0, 2))
def test_removal_equals_masking(host, heads, hidden, index):
    model = tiny.network(host)
    kept = Kept(tuple(sorted(heads)), tuple(sorted(hidden)))
    expected = masked(model, index, kept)
    cut(blocks(model)[index], kept)
    with torch.no_grad():
        torch.testing.assert_close(model(tiny.images(2)), expected(tiny.images(2)), atol=1e-5, rtol=1e-4)
    handle = blocks(model)[index]
    assert (handle.heads, handle.hidden) == (len(heads), len(hidden))


@pytest.mark.parametrize("host", TRANSFORMERS)
def test_order_of_heads_does_not_matter(host):
    """Fused and written-out attention agree after the cut: the width of a head, hence the scale, is untouched."""
    model = tiny.network(host)
    for handle in blocks(model):
        keep_heads(handle.attn, [1, 0])
    with torch.no_grad():
        fused = model(tiny.images(2))
        for handle in blocks(model):
            handle.attn.fused_attn = False
        torch.testing.assert_close(model(tiny.images(2)), fused, atol=1e-5, rtol=1e-4)


def test_rows_and_columns_of_heads():
    assert columns_of([0, 2], 2).tolist() == [0, 1, 4, 5]
    assert rows_of([1], 2, 3).tolist() == [2, 3, 8, 9, 14, 15]


def test_tables_of_a_window_lose_a_column():
    model = tiny.network("swin")
    attn = blocks(model)[0].attn
    before = attn.relative_position_bias_table.detach().clone()
    keep_heads(attn, [0, 2])
    assert torch.equal(attn.relative_position_bias_table, before[:, [0, 2]])


@pytest.mark.parametrize("host", TRANSFORMERS)
def test_keeping_everything_changes_nothing(host):
    model = tiny.network(host)
    with torch.no_grad():
        expected = model(tiny.images(2))
        for handle in blocks(model):
            cut(handle, Kept(tuple(range(handle.heads)), tuple(range(handle.hidden))))
        assert torch.equal(model(tiny.images(2)), expected)


@given(st.lists(st.integers(0, 6), min_size=1, unique=True))
@settings(deadline=None)
def test_linear_layers_give_the_chosen_outputs_of_the_chosen_inputs(kept):
    layer, x = nn.Linear(7, 7), torch.randn(3, 7)
    by_output, by_input = copy.deepcopy(layer), copy.deepcopy(layer)
    keep_outputs(by_output, kept)
    keep_inputs(by_input, kept)
    torch.testing.assert_close(by_output(x), layer(x)[:, kept])
    only = torch.zeros(7)
    only[kept] = 1
    torch.testing.assert_close(by_input(x[:, kept]), layer(x * only))
    assert (by_output.out_features, by_input.in_features) == (len(kept), len(kept))


@pytest.mark.parametrize("kept", [[], [7], [-1]])
def test_impossible_choices_are_refused(kept):
    for edit in (keep_outputs, keep_inputs):
        with pytest.raises(ValueError, match="cannot keep"):
            edit(nn.Linear(7, 7), kept)


def test_frozen_layers_stay_frozen():
    layer = nn.Linear(4, 4).requires_grad_(requires_grad=False)
    keep_outputs(layer, [0])
    assert not layer.weight.requires_grad


def test_a_constant_input_is_made_up_for_exactly():
    """The mean of what never changes is all of it."""
    layer, x = nn.Linear(5, 3), torch.randn(8, 5)
    x[:, 2] = 1.7
    expected = layer(x)
    fold_inputs(layer, [2], x.mean(0))
    keep_inputs(layer, [0, 1, 3, 4])
    torch.testing.assert_close(layer(x[:, [0, 1, 3, 4]]), expected)


@pytest.mark.parametrize("host", TRANSFORMERS)
def test_compensation_brings_the_block_closer_to_what_it_was(host):
    """Of all constants the mean leaves the smallest squared error behind proj and fc2."""
    model, images = tiny.network(host), tiny.images(40)
    handles = blocks(model)
    means = inner_means(model, handles, images)
    errors = []
    for compensation in (means[0], None):
        other = copy.deepcopy(model)
        handle = blocks(other)[0]
        half = handle.hidden // 2
        cut(handle, Kept(tuple(range(handle.heads)), tuple(range(half))), compensation)
        errors.append(float((output_of(other, images) - output_of(model, images)).square().mean()))
    assert errors[0] < errors[1]


def output_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the MLP of the first block gives."""
    seen: list[torch.Tensor] = []
    hook = blocks(model)[0].mlp.register_forward_hook(lambda module, arguments, result: seen.append(result))
    with torch.no_grad():
        model(images)
    hook.remove()
    return seen[0]


def test_means_are_those_of_all_images_and_tokens():
    model, images = tiny.network("plain"), tiny.images(40)  # more than one batch
    seen: list[torch.Tensor] = []
    hook = model.blocks[1].mlp.fc2.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        model(images)
    hook.remove()
    found = inner_means(model, blocks(model), images)[1].hidden
    torch.testing.assert_close(found, seen[0].mean((0, 1)), atol=1e-5, rtol=1e-4)


def test_a_dropped_block_is_skipped():
    model = tiny.network("plain")
    shorter = copy.deepcopy(model)
    drop_blocks(shorter, {1})
    with torch.no_grad():
        expected = model.blocks[1].register_forward_hook(lambda module, arguments, result: arguments[0])
        torch.testing.assert_close(shorter(tiny.images(2)), model(tiny.images(2)))
        expected.remove()
    assert [handle.path for handle in blocks(shorter)] == ["blocks.0", "blocks.1"]


@pytest.mark.parametrize("host", TRANSFORMERS)
def test_blocks_stand_where_the_plan_says(host):
    model = tiny.network(host)
    plan = tiny.plan_of(model)
    assert [(b.path, b.heads, b.head_width, b.hidden) for b in plan.blocks] == [
        (h.path, h.heads, h.head_width, h.hidden) for h in blocks(model)
    ]


def test_the_last_block_of_a_stage_stays():
    with pytest.raises(VitEdgeError, match="at least one block"):
        drop_blocks(tiny.network("swin"), {0, 1})
