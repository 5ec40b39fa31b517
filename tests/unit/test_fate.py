"""Fates: however tokens merge and drop, mass goes to the patches it came from."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.explain.fate import GONE, Became, Fate, story


@st.composite
def merged(draw) -> Fate:
    """A fate after a few random merges; no token is dropped and none is left empty."""
    fate = Fate.untouched(draw(st.integers(1, 24)))
    for _ in range(draw(st.integers(0, 4))):
        step = torch.tensor(draw(st.lists(st.integers(0, 9), min_size=fate.tokens, max_size=fate.tokens)))
        _, step = step.unique(return_inverse=True)
        fate = fate.then(step, int(step.max()) + 1)
    return fate


def masses(fate: Fate, seed: int, size: int) -> torch.Tensor:
    return torch.rand(3, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(merged(), st.integers(0, 9))
def test_mass_is_conserved_both_ways(fate, seed):
    on_tokens, on_patches = masses(fate, seed, fate.tokens), masses(fate, seed, len(fate.owner))
    assert torch.allclose(fate.spread(on_tokens).sum(-1), on_tokens.sum(-1))
    assert torch.allclose(fate.gather(on_patches).sum(-1), on_patches.sum(-1))


@given(merged(), st.integers(0, 9))
def test_gathering_undoes_spreading_and_never_the_other_way_round(fate, seed):
    mass = masses(fate, seed, fate.tokens)
    assert torch.allclose(fate.gather(fate.spread(mass)), mass)
    assert int(fate.sizes.sum()) == len(fate.owner)


@given(merged())
def test_companions_share_a_token(fate):
    for member in range(len(fate.owner)):
        together = fate.companions(member)
        assert member in together
        assert (fate.owner[together] == fate.owner[member]).all()


def test_a_dropped_token_keeps_no_mass_and_never_comes_back():
    fate = Fate.untouched(4).then(torch.tensor([0, GONE, 1, 1]), 2)
    assert fate.dropped == 1
    assert fate.merged == 2
    assert fate.spread(torch.tensor([1.0, 4.0])).tolist() == [1, 0, 2, 2]
    assert fate.gather(torch.ones(4)).tolist() == [1, 2]
    assert len(fate.companions(1)) == 0
    assert fate.then(torch.tensor([GONE, 0]), 1).owner.tolist() == [GONE, GONE, 0, 0]
    assert fate.then(torch.tensor([0, 0]), 1).owner.tolist() == [0, GONE, 0, 0]


def test_patches_of_a_coarser_grid_are_neighbours():
    fate = Fate.pooled((4, 6), (2, 3))
    assert fate.owner.view(4, 6)[:2, :4].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert fate.sizes.tolist() == [4] * 6
    assert Fate.pooled((7, 7), (4, 4)).sizes.view(4, 4)[0].tolist() == [4, 4, 4, 2]  # Swin pads an odd grid


def test_a_story_tells_when_company_grew_and_ends_with_the_drop():
    first = Fate.untouched(4).then(torch.tensor([0, 1, 1, 2]), 3)
    second = first.then(torch.arange(3), 3)
    third = second.then(torch.tensor([0, 1, 1]), 2)
    fourth = third.then(torch.tensor([0, GONE]), 1)
    told = story((first, second, third, fourth, fourth), 1)
    assert [turn.became for turn in told] == [Became.MERGED, Became.KEPT, Became.MERGED, Became.DROPPED]
    assert [turn.companions for turn in told] == [(1, 2), (1, 2), (1, 2, 3), ()]
    assert [turn.became for turn in story((first, fourth), 0)] == [Became.KEPT, Became.KEPT]


@given(merged(), st.integers(0, 9))
def test_a_story_names_everybody_in_the_token_and_nobody_else(fate, seed):
    member = seed % len(fate.owner)
    (turn,) = story((fate,), member)
    assert set(turn.companions) == {
        other for other in range(len(fate.owner)) if fate.owner[other] == fate.owner[member]
    }
    assert (turn.became is Became.MERGED) == (len(turn.companions) > 1)
