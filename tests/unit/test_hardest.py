"""The hardest hit: what is ranked is what both models really say, and nobody looks at calibration images."""

from __future__ import annotations

import homegrown
import pytest
import torch
from PIL import Image

from vitedge_core.compress import compress, context_for, load_trained
from vitedge_core.datasets.sets import open_images
from vitedge_core.datasets.uploads import prepared
from vitedge_core.errors import Cancelled
from vitedge_core.experiments.hardest import ATTENTION, PREDICTION, Hit, Hits, hardest
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe, Step


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe(homegrown.keep("hardest"), (Step.of("layer_drop", blocks="1"), Step.of("tome", r=6)))


@pytest.fixture(scope="module")
def hits(recipe) -> Hits:
    return hardest(recipe, "digits", count=12)


def test_every_hit_is_what_both_models_say(recipe, hits):
    images, wants = open_images("digits"), preprocessing(recipe.model)
    models = load_trained(recipe.model), compress(recipe, context_for(recipe)).model
    assert [hit.index for hit in hits.hits] == list(range(12))
    for hit in hits.hits[:4]:
        with torch.no_grad():
            before, after = (model(prepared(images.image(hit.index), wants))[0].softmax(-1) for model in models)
        assert (hit.truth, hit.before, hit.after) == (
            images.label(hit.index),
            int(before.argmax()),
            int(after.argmax()),
        )
        assert hit.sure == pytest.approx((float(before.max()), float(after[hit.before])), abs=1e-5)
        assert hit.shared is not None
        assert 0 < hit.shared < 1


def test_ranking_puts_the_largest_change_first(hits):
    falls = [hit.sure[0] - hit.sure[1] for hit in hits.ranked(PREDICTION)]
    assert falls == sorted(falls, reverse=True)
    alike = [hit.shared for hit in hits.ranked(ATTENTION)]
    assert alike == sorted(alike)
    assert len(falls) == len(alike) == 12


def test_flips_are_counted_with_their_interval(hits):
    share = sum(hit.before != hit.after for hit in hits.hits) / 12
    assert hits.flips.value == share
    assert hits.flips.low is not None
    assert hits.flips.high is not None
    assert hits.flips.low <= share <= hits.flips.high
    assert "12 images" in hits.flips.source


def test_images_without_a_map_cannot_be_ranked_by_it():
    without = Hits((Hit(0, 1, 1, 2, (0.9, 0.1), None),), "somewhere")
    assert without.ranked(ATTENTION) == ()
    assert len(without.ranked(PREDICTION)) == 1


def test_of_a_folder_only_unseen_images_are_shown_and_damaged_ones_left_out(recipe, tmp_path):
    for digit in range(10):
        (tmp_path / str(digit)).mkdir()
        Image.effect_noise((50, 50), 90).save(tmp_path / str(digit) / "a.png")
    whole = open_images(str(tmp_path))
    damaged = whole.path(2)  # type: ignore[attr-defined]
    damaged.write_bytes(damaged.read_bytes()[:60])
    found = hardest(recipe, str(tmp_path))
    assert [hit.index for hit in found.hits] == [0, 1, 3, 4]
    assert found.unreadable == 1
    assert [hit.truth for hit in found.hits] == [whole.label(index) for index in (0, 1, 3, 4)]


def test_progress_is_told_and_it_can_be_cancelled(recipe):
    told: list[float] = []

    def report(share: float, sentence: str) -> None:
        told.append(share)

    with pytest.raises(Cancelled):
        hardest(recipe, "digits", report, lambda: len(told) > 5, count=50)
    assert told == sorted(told)
    assert 0.2 < told[-1] < 0.4
