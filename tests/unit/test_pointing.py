"""The pointing game and attention on the object, on maps whose answer is known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.measure.pointing import area, hits, mass_inside


def square(top: int, left: int, side: int = 12, of: int = 48) -> torch.Tensor:
    mask = torch.zeros(of, of, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def spot(row: int, column: int) -> torch.Tensor:
    found = torch.full((8, 8), 0.01)
    found[row, column] = 1
    return found


def test_the_brightest_point_decides():
    masks = torch.stack([square(12, 24)] * 3)
    maps = torch.stack([spot(3, 5), spot(3, 7), spot(0, 5)])
    assert hits(maps, masks).tolist() == [True, False, False]


@given(st.integers(0, 7), st.integers(0, 7))
def test_a_hit_needs_the_very_patch(row, column):
    own, other = square(6 * row, 6 * column, 6), ~square(6 * row, 6 * column, 6)
    assert hits(spot(row, column)[None], own[None]).item()
    assert not hits(spot(row, column)[None], other[None]).item()


@given(st.integers(0, 36), st.integers(0, 36), st.floats(0.1, 1e6))
def test_a_map_that_knows_nothing_scores_the_area(top, left, scale):
    mask = square(top, left)[None]
    assert mass_inside(torch.full((1, 8, 8), scale), mask).item() == pytest.approx(area(mask).item(), rel=1e-5)


def test_mass_counts_a_patch_as_far_as_it_is_covered():
    mask = square(0, 0, 48)
    mask[:, 3:] = False  # half of the first column of patches
    found = torch.zeros(8, 8)
    found[:, 0] = 3.0
    assert mass_inside(found[None], mask[None]).item() == pytest.approx(0.5)


def test_shares_do_not_depend_on_the_scale_and_sum_to_one():
    maps = torch.rand(5, 8, 8, generator=torch.Generator().manual_seed(0))
    masks = torch.stack([square(5 * i, 3 * i) for i in range(5)])
    inside = mass_inside(maps, masks)
    torch.testing.assert_close(inside, mass_inside(7 * maps, masks))
    torch.testing.assert_close(inside + mass_inside(maps, ~masks), torch.ones(5))
