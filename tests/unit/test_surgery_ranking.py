"""Counts are exact, whatever the scores."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.surgery.ranking import GLOBAL, PER_LAYER, best, removed, smallest

numbers = st.lists(st.integers(0, 5), min_size=1, max_size=30)  # small, so that many are equal
ratios = st.floats(0, 1)


@given(numbers, st.integers(0, 30))
def test_exactly_so_many_are_marked_and_none_left_is_smaller(values, count):
    scores = torch.tensor(values).float()
    marked = smallest(scores, min(count, len(values)))
    assert int(marked.sum()) == min(count, len(values))
    if marked.any() and not marked.all():
        assert scores[marked].max() <= scores[~marked].min()


@given(numbers, ratios, ratios)
def test_more_removed_is_a_superset(values, one, other):
    low, high = sorted((one, other))
    scores = torch.tensor(values).float()
    less, more = (smallest(scores, removed(len(values), ratio)) for ratio in (low, high))
    assert not (less & ~more).any()


@given(st.lists(numbers, min_size=1, max_size=4), ratios, st.integers(1, 3))
def test_per_layer_every_layer_loses_its_share(layers, ratio, least):
    stay = best([torch.tensor(layer).float() for layer in layers], ratio, least, PER_LAYER)
    for layer, kept in zip(layers, stay, strict=True):
        assert len(kept) == len(layer) - removed(len(layer), ratio, least)
        assert len(kept) >= min(least, len(layer))
        gone = set(range(len(layer))) - set(kept)
        assert not gone or max(layer[unit] for unit in gone) <= min(layer[unit] for unit in kept)


@given(st.lists(numbers, min_size=1, max_size=4), ratios, st.integers(1, 3))
def test_globally_the_total_is_exact_and_every_layer_keeps_some(layers, ratio, least):
    stay = best([torch.tensor(layer).float() for layer in layers], ratio, least, GLOBAL)
    total, room = sum(map(len, layers)), sum(max(0, len(layer) - least) for layer in layers)
    assert total - sum(map(len, stay)) == min(removed(total, ratio), room)
    assert all(len(kept) >= min(least, len(layer)) for layer, kept in zip(layers, stay, strict=True))


def test_globally_the_layer_that_matters_less_loses_more():
    stay = best([torch.tensor([1.0, 2.0, 3.0]), torch.tensor([7.0, 8.0, 9.0])], 0.34, 1, GLOBAL)
    assert stay == [(2,), (0, 1, 2)]
