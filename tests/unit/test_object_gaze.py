"""Does it still look at the object? Compared with itself nothing changes; a blind model no longer points."""

from __future__ import annotations

import homegrown
import pytest
import torch

from vitedge_core.compress import load_trained
from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.sets import open_images
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments import evaluate as evaluating
from vitedge_core.experiments import looking
from vitedge_core.experiments.evaluate import evaluate
from vitedge_core.experiments.evaluation import GAZE
from vitedge_core.experiments.object_gaze import object_gaze
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe, Step

BASE = "digits_vit_base"
HALF = Step.of("head_mlp_magnitude", ratio=0.5, compensate=False)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    made = {split: wild_digits.compose(split, 0, count=40) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
    evaluating._outcomes.clear()
    looking._known.clear()


def compare(before, after, **more):
    given = {"limit": 24, "curve_images": 6, **more}
    return object_gaze(BASE, before, after, open_images("digits"), preprocessing(BASE), **given)


@pytest.mark.slow
def test_the_bundled_model_points_at_the_object_far_beyond_chance():
    model = load_trained(BASE)
    found = compare(model, model, limit=40, curve_images=12)
    assert found.n == found.hits.n == 40
    assert found.deletion.n == 12
    assert 0.1 < found.chance.value < 0.25
    assert found.hits.before.value > 0.85
    assert found.margin.before.low > 0.6
    assert found.mass.before.low > 2 * found.chance.value
    assert found.deletion.before.high < 0 < found.insertion.before.low


def test_a_model_compared_with_itself_has_not_changed():
    model = load_trained(BASE)
    shares: list[float] = []
    found = compare(model, model, report=lambda share, _: shares.append(share))
    for pair in (found.hits, found.margin, found.mass, found.deletion, found.insertion):
        assert pair.before == pair.after
        assert pair.change.value == 0
    assert found.kept.value == found.kept.low == found.kept.high == 1
    for one, other in (found.curves.deletion, found.curves.random_insertion):
        assert one == other
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_a_model_whose_queries_are_gone_looks_everywhere():
    """Without queries all keys are alike: attention is even, and mass on the object falls to its area."""
    before, after = load_trained(BASE), load_trained(BASE)
    with torch.no_grad():
        for block in after.blocks:
            block.attn.qkv.weight[:128] = 0
            block.attn.qkv.bias[:128] = 0
    found = compare(before, after, curve_images=2)
    assert found.mass.after.value == pytest.approx(found.chance.value, abs=1e-3)
    assert found.mass.change.high < 0
    assert found.kept.high < 0.6


def test_the_baseline_is_looked_at_once(monkeypatch):
    asked = []
    real = looking.looked
    monkeypatch.setattr(looking, "looked", lambda *given: asked.append(given[0]) or real(*given))
    model = load_trained(BASE)
    images, wants = open_images("digits"), preprocessing(BASE)
    first, second = (looking.remembered(BASE, model, images, wants, 8, 0) for _ in range(2))
    assert first is second
    assert len(asked) == 1


def test_it_can_be_stopped_at_any_moment():
    model = load_trained(BASE)
    for moment in (0, 2, 4):
        asked = iter(range(1_000))
        with pytest.raises(Cancelled):
            compare(model, model, cancelled=lambda asked=asked, moment=moment: next(asked) >= moment)
        looking._known.clear()


def test_images_without_masks_are_a_sentence(tmp_path):
    class Photos:
        title = "Photos"

    assert "no masks" in looking.why_not(Photos())
    assert looking.why_not(open_images("digits")) is None
    with pytest.raises(VitEdgeError, match="Photos has no masks"):
        looking.looked(load_trained(BASE), Photos(), preprocessing(BASE), 4, 2)


def test_an_evaluation_knows_it_when_asked():
    name = homegrown.keep("object-gaze")
    found = evaluate(Recipe(name, (HALF,)), limit=16, latency=False, gaze=True)
    assert set(GAZE) <= set(found.baseline)
    assert set(GAZE) <= set(found.compressed)
    assert found.baseline["attention_kept"].is_exact
    assert found.compressed["attention_kept"].low < found.compressed["attention_kept"].high
    assert "16 images" in found.compressed["pointing_hits"].source
    assert not set(GAZE) & set(evaluate(Recipe(name, (HALF,)), limit=16, latency=False).compressed)


def test_a_network_without_attention_is_measured_without_it():
    found = evaluate(Recipe("digits_convnet", (Step.of("magnitude"),)), limit=8, latency=False, gaze=True)
    assert not set(GAZE) & set(found.compressed)
