"""Laws of editing plans: what a cut plan says is what the trace of a really smaller network says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from tiny import network, plan_of

from vitedge_core.errors import VitEdgeError
from vitedge_core.models.trace import trace_model
from vitedge_core.plan import Kind, Op, Plan

TOKENS, WIDTH, HEADS, HIDDEN, DEPTH = 17, 48, 3, 192, 3


@cache
def vit(**changes: object) -> Plan:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "num_classes": 10}
    with torch.device("meta"):
        return trace_model(VisionTransformer(**{**sizes, **changes}), "tiny", (3, 32, 32))


@cache
def swin() -> Plan:
    return plan_of(network("swin"))


def shapes(plan: Plan) -> tuple[Op, ...]:
    """Everything but the bytes of names, whose digits change with the sizes they tell."""
    return tuple(replace(op, header=0) for op in plan.ops)


blocks = st.integers(0, DEPTH - 1)
plans = st.sampled_from([vit, swin])


def test_fewer_hidden_neurons_are_a_narrower_network():
    plan = vit()
    for index in range(DEPTH):
        plan = plan.keep_hidden(index, 2 * WIDTH)
    narrow = vit(mlp_ratio=2)
    assert shapes(plan) == shapes(narrow)
    assert plan.blocks == narrow.blocks


@given(st.sets(blocks, max_size=DEPTH - 1))
def test_fewer_blocks_are_a_shallower_network(dropped):
    plan, shallow = vit().drop_blocks(dropped), vit(depth=DEPTH - len(dropped))
    assert [replace(op, held=0) for op in shapes(plan)] == [replace(op, held=0) for op in shapes(shallow)]
    assert plan.blocks == shallow.blocks


@given(plans, st.data())
def test_heads_by_the_formula(plan_of, data):
    plan = plan_of()
    index = data.draw(st.integers(0, len(plan.blocks) - 1))
    block = plan.blocks[index]
    kept = data.draw(st.integers(1, block.heads))
    cut = plan.keep_heads(index, kept)
    gone = (block.heads - kept) * block.head_width
    tables = sum(op.others for op in plan.ops if op.block == index and op.kind is Kind.ATTENTION)
    weights = 4 * gone * block.width + 3 * gone
    assert plan.params - cut.params == weights + tables * (block.heads - kept) // block.heads
    window = block.tokens // block.groups
    assert plan.macs - cut.macs == 4 * block.tokens * gone * block.width + 2 * block.tokens * window * gone
    assert cut.blocks[index] == replace(block, heads=kept)
    assert cut.blocks[:index] + cut.blocks[index + 1 :] == plan.blocks[:index] + plan.blocks[index + 1 :]


@given(plans, st.data())
def test_cutting_twice_is_cutting_once(plan_of, data):
    plan = plan_of()
    index = data.draw(st.integers(0, len(plan.blocks) - 1))
    block = plan.blocks[index]
    heads = sorted(data.draw(st.lists(st.integers(1, block.heads), min_size=2, max_size=2)))
    hidden = sorted(data.draw(st.lists(st.integers(1, block.hidden), min_size=2, max_size=2)))
    assert plan.keep_heads(index, heads[1]).keep_heads(index, heads[0]) == plan.keep_heads(index, heads[0])
    assert plan.keep_hidden(index, hidden[1]).keep_hidden(index, hidden[0]) == plan.keep_hidden(index, hidden[0])


@given(plans, st.data())
def test_cuts_of_different_parts_commute(plan_of, data):
    plan = plan_of()
    number = st.integers(0, len(plan.blocks) - 1)
    one, other = data.draw(number), data.draw(number)
    heads = data.draw(st.integers(1, plan.blocks[one].heads))
    hidden = data.draw(st.integers(1, plan.blocks[other].hidden))
    assert plan.keep_heads(one, heads).keep_hidden(other, hidden) == plan.keep_hidden(other, hidden).keep_heads(
        one, heads
    )


@given(plans, st.data())
def test_keeping_everything_changes_nothing(plan_of, data):
    plan = plan_of()
    index = data.draw(st.integers(0, len(plan.blocks) - 1))
    block = plan.blocks[index]
    assert plan.keep_heads(index, block.heads) == plan.keep_hidden(index, block.hidden) == plan
    assert plan.drop_blocks(()) == plan
    if block.attention == "global":
        assert plan.merge_tokens(lambda i, n: 0, lambda b, gone: 0) == plan


@given(st.data())
def test_dropping_in_two_goes_is_dropping_at_once(data):
    plan = swin()
    first = data.draw(st.integers(0, 3))
    rest = data.draw(st.integers(0, 2))
    left = [index for index in range(4) if index != first]
    assert plan.drop_blocks([first]).drop_blocks([rest]) == plan.drop_blocks([first, left[rest]])


@given(st.sets(st.integers(0, 3), min_size=1, max_size=3))
def test_what_a_dropped_block_cost_is_gone(dropped):
    plan = swin()
    cut = plan.drop_blocks(dropped)
    inside = [op for op in plan.ops if op.block in dropped]
    assert plan.params - cut.params == sum(op.params for op in inside)
    assert plan.macs - cut.macs == sum(op.macs for op in inside)
    assert {op.block for op in cut.ops if op.block >= 0} == set(range(4 - len(dropped)))
    assert all(op.path.startswith(cut.blocks[op.block].path) for op in cut.ops if op.block >= 0)


def test_dropped_blocks_close_ranks_within_their_stage():
    paths = [block.path for block in swin().drop_blocks([0, 2]).blocks]
    assert paths == ["layers.0.blocks.0", "layers.1.blocks.0"]


@given(st.integers(0, 5))
def test_merged_tokens_by_the_formula(r):
    """Each block attends over all its tokens and feeds r fewer into its MLP; the last norm sees what is left."""
    plan = vit()
    merged = plan.merge_tokens(lambda i, n: r, lambda block, gone: 1000 * gone)
    lengths = [TOKENS - r * index for index in range(DEPTH + 1)]
    macs = sum(
        4 * n * WIDTH * WIDTH + 2 * n * n * WIDTH + 2 * m * WIDTH * HIDDEN + 1000 * r for n, m in pairwise(lengths)
    )
    outside = sum(op.macs for op in plan.ops if op.block < 0)
    assert merged.macs == macs + outside
    assert merged.params == plan.params
    assert [(b.tokens, b.mlp_tokens, b.merged) for b in merged.blocks] == [(n, m, r) for n, m in pairwise(lengths)]
    assert next(op.rows for op in merged.ops if op.path == "norm") == lengths[-1]
    assert merged.merges_tokens == (r > 0)


@given(st.integers(2, 16), st.integers(2, 16))
def test_bits_of_a_layer(weights, activations):
    plan = vit()
    changed = plan.set_bits(["blocks.1.mlp.fc1"], weights=weights, activations=activations, scales=lambda op: 7)
    different = [(a, b) for a, b in zip(plan.ops, changed.ops, strict=True) if a != b]
    assert len(different) == 1
    old, new = different[0]
    assert (new.w_bits, new.a_bits, new.scales) == (weights, activations, 7)
    assert new.stored_bytes - (old.stored_bytes - 4 * old.weights) == -(-old.weights * weights // 8) + 7
    assert changed.quantised
    assert not plan.quantised


@given(st.dictionaries(st.sampled_from(["head", "blocks.0.attn.qkv", "norm", "nowhere"]), st.integers(0, 480)))
def test_zeros_are_noted_where_there_are_weights(zeros):
    plan = vit().set_zeros(zeros)
    assert plan.zeros == sum(count for path, count in zeros.items() if path in {"head", "blocks.0.attn.qkv"})
    assert (plan.params, plan.macs) == (vit().params, vit().macs)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda plan: plan.keep_heads(0, 0), "blocks.0 can keep 1 to 3 heads, not 0"),
        (lambda plan: plan.keep_heads(1, 4), "blocks.1 can keep 1 to 3 heads, not 4"),
        (lambda plan: plan.keep_hidden(2, 0), "blocks.2 can keep 1 to 192 hidden neurons, not 0"),
        (lambda plan: plan.keep_hidden(2, 193), "not 193"),
        (lambda plan: plan.drop_blocks(range(3)), "at least one block"),
    ],
)
def test_impossible_edits_are_refused(edit, sentence):
    with pytest.raises(VitEdgeError, match=sentence):
        edit(vit())
