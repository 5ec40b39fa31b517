"""Deletion and insertion on a model whose every answer can be computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitedge_core.errors import Cancelled
from vitedge_core.measure.erasing import STEPS, area_under, erase

GRID = 4


class Linear(nn.Module):
    """The first class's logit is the sum over patches of a weight times the patch's mean; the other's is zero."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, images: Tensor) -> Tensor:
        patches = nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), GRID)[:, 0]
        score = (patches * self.weights).sum((1, 2))
        return torch.stack([score, torch.zeros_like(score)], 1)


@pytest.fixture
def case():
    """Weights that fall from patch to patch, two images of ones, and their sum of 3."""
    weights = torch.linspace(1, 0.01, GRID * GRID).view(GRID, GRID)
    weights *= 3 / weights.sum()
    return Linear(weights), torch.ones(2, 3, 16, 16), weights.expand(2, -1, -1).clone()


def run(model, images, maps, **more):
    return erase(model, images, maps, torch.Generator().manual_seed(0), **more)


def test_the_deletion_curve_is_that_of_the_formula(case):
    model, images, maps = case
    found = run(model, images, maps).deletion
    left = maps[0].flatten().sort(descending=True).values
    per_step = len(left) // STEPS
    expected = torch.stack([left[step * per_step :].sum() for step in range(STEPS + 1)]).sigmoid()
    torch.testing.assert_close(found, expected.expand(2, -1))


def test_a_blurred_even_image_is_itself_so_insertion_stays_flat(case):
    model, images, maps = case
    found = run(model, images, maps).insertion
    torch.testing.assert_close(found, torch.tensor(3.0).sigmoid().expand(2, STEPS + 1))


def test_the_right_order_beats_chance_and_chance_beats_the_wrong_one(case):
    model, images, maps = case
    images = images * 1.0
    right, wrong = run(model, images, maps), run(model, images, -maps)
    assert (area_under(right.deletion) < area_under(right.random_deletion)).all()
    assert (area_under(right.random_deletion) < area_under(wrong.deletion)).all()


def test_insertion_ends_at_the_whole_image_and_begins_without_it():
    """Checks of a pattern that the blur levels: the first patch put back brings most."""
    board = torch.zeros(1, 3, 16, 16)
    board[..., 4:8, 4:8] = 4.0
    weights = torch.zeros(GRID, GRID)
    weights[1, 1] = 1.0
    found = run(Linear(weights), board, weights[None]).insertion[0]
    assert found[0] < 0.9 < found[-1]
    assert found[-1] == pytest.approx(torch.tensor(4.0).sigmoid().item())
    assert (found[1:] == found[-1]).all()


def test_area_is_by_trapezoids():
    torch.testing.assert_close(area_under(torch.linspace(1, 0, STEPS + 1)[None]), torch.tensor([0.5]))
    torch.testing.assert_close(area_under(torch.ones(3, STEPS + 1)), torch.ones(3))


def test_the_random_order_repeats_and_it_can_be_stopped(case):
    model, images, maps = case
    assert torch.equal(run(model, images, maps).random_deletion, run(model, images, maps).random_deletion)

    def stop(share: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        run(model, images, maps, tick=stop)
