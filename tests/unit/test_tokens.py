"""Merging tokens: nothing gets lost, the mean is the weighted one, and a copy counts as much as its original."""

from __future__ import annotations

import itertools

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from referee import hooks_on

from vitedge_core.surgery.open_attention import OpenAttention, unit_sizes
from vitedge_core.surgery.tokens import (
    Tokens,
    matching_macs,
    merge,
    mergeable,
    merging_blocks,
    owners_after_blocks,
    places_after,
    start_merging,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@st.composite
def splits(draw):
    """Tokens, prefix tokens among them, and how many merge."""
    prefix = draw(st.integers(0, 4))
    tokens = prefix + draw(st.integers(2, 30))
    return tokens, prefix, draw(st.integers(1, mergeable(tokens, prefix, 99)))


@given(splits(), st.integers(0, 99))
def test_every_token_goes_somewhere_and_no_place_is_empty(split, seed):
    tokens, prefix, r = split
    places = places_after(random(2, tokens, 5, seed=seed), prefix, r)
    for row in places:
        assert sorted(set(row.tolist())) == list(range(tokens - r))
        assert row[:prefix].tolist() == list(range(prefix))
        assert (row[prefix:] >= prefix).all()


@given(splits(), st.integers(0, 99))
def test_sizes_add_up_and_values_are_weighted_means(split, seed):
    tokens, prefix, r = split
    values, sizes = random(2, tokens, 7, seed=seed), random(2, tokens, seed=seed).abs() + 1
    places = places_after(random(2, tokens, 5, seed=seed + 1), prefix, r)
    merged = merge(Tokens(values, sizes), places, tokens - r)
    source = torch.nn.functional.one_hot(places, tokens - r).float().mT  # [B, N - r, N]
    assert merged.sizes is not None
    torch.testing.assert_close(merged.sizes.sum(1), sizes.sum(1))
    torch.testing.assert_close(merged.sizes, (source @ sizes[..., None])[..., 0])
    torch.testing.assert_close(merged.values, source @ (values * sizes[..., None]) / merged.sizes[..., None])


def test_the_most_alike_merge():
    """Of six patches, 3 is a copy of 0 and nothing else is alike; with one pair to merge it is this one."""
    patches = torch.eye(6)
    patches[3] = patches[0]
    metric = torch.cat([torch.ones(1, 6), patches])[None]
    places = places_after(metric, 1, 1)[0].tolist()
    assert places[1 + 0] == places[1 + 3]
    assert len(set(places)) == 6


def test_tokens_that_stay_keep_their_order():
    places = places_after(random(1, 17, 4), 1, 3)[0]
    patches = torch.arange(1, 17)
    for members in (patches[1::2], patches[0::2]):  # the set that goes is the one of the class token
        alone = [place for place in places[members].tolist() if (places == place).sum() == 1]
        assert alone == sorted(alone)


def test_at_most_half_can_merge():
    assert mergeable(197, 1, 13) == 13
    assert mergeable(197, 1, 400) == 98
    assert mergeable(3, 2, 5) == 0
    assert mergeable(2, 2, 1) == 0
    assert matching_macs(198, 1, 64) == 98 * 99 * 64


def test_a_copy_counts_like_its_original():
    """A token and its copy, or one token of size two: attention gives the others the same."""
    attention = OpenAttention(tiny.network("plain").blocks[0].attn)
    one = random(2, 9, 48)
    two = torch.cat([one, one[:, 4:5]], dim=1)
    sizes = torch.ones(2, 9)
    sizes[:, 4] = 2
    with torch.no_grad():
        torch.testing.assert_close(
            attention(one, attn_mask=unit_sizes(sizes)), attention(two)[:, :9], atol=1e-5, rtol=1e-5
        )
        assert not torch.allclose(attention(one), attention(two)[:, :9], atol=1e-3)


@pytest.mark.parametrize("host", ["plain", "distilled", "registers"])
def test_owners_say_where_every_patch_went(host):
    model = tiny.network(host)
    start_merging(model, [3, 2, 4], proportional=True)
    images = tiny.images(2)
    owners = owners_after_blocks(model, images)
    total, prefix = 16 + model.num_prefix_tokens, model.num_prefix_tokens
    assert [int(owner.max()) + 1 for owner in owners] == [total - 3, total - 5, total - 9]
    for earlier, later in itertools.pairwise(owners):
        for row in range(2):  # whoever shared a token goes on sharing it
            pairs = dict(zip(earlier[row].tolist(), later[row].tolist(), strict=True))
            assert [pairs[place] for place in earlier[row].tolist()] == later[row].tolist()
    assert owners[-1][:, :prefix].tolist() == [list(range(prefix))] * 2
    assert not list(hooks_on(model))


def test_owners_match_the_values():
    """With all residual branches silenced a token is the mean of the patches it owns."""
    model = tiny.network("plain")
    for block in model.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    start_merging(model, [3, 3, 3], proportional=True)
    blocks = merging_blocks(model)
    entered = random(1, 17, 48)
    last = blocks.trail(entered)[-1]
    for place in range(8):
        members = entered[0, last.owners[0] == place]
        torch.testing.assert_close(last.values[0, place], members.mean(0), atol=1e-5, rtol=1e-5)
        assert len(members) == last.sizes[0, place]


def test_pooling_weighs_tokens_by_size():
    model = tiny.network("registers")  # mean of the patches
    start_merging(model, [3, 3, 3], proportional=True)
    blocks, entered = model.blocks, random(2, 18, 48)
    assert blocks.restores
    last = blocks.trail(entered)[-1]
    weighted = (last.values * last.sizes[..., None])[:, 2:].sum(1) / 16
    torch.testing.assert_close(blocks(entered)[:, 2:].mean(1), weighted, atol=1e-5, rtol=1e-5)


def test_a_model_that_merges_nothing_has_no_owners():
    assert owners_after_blocks(tiny.network("plain"), tiny.images(1)) == []
