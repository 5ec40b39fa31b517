"""Attributions of both models: one class, heads under their old numbers, one way to report."""

from __future__ import annotations

import homegrown
import numpy as np
import pytest
from PIL import Image

from vitedge_core.compress import compress, context_for, load_trained
from vitedge_core.datasets.uploads import prepared
from vitedge_core.experiments.attributions import HEADS, WAYS, Explained, explain_both
from vitedge_core.explain.attribution import attribute
from vitedge_core.explain.conductance import conductance_of_heads
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe, Step

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    steps = Step.of("layer_drop", blocks="1"), Step.of("head_mlp_magnitude", ratio=0.34, mlp=False, compensate=False)
    return Recipe(homegrown.keep("attributions", seed=2), steps)


def both(recipe: Recipe, way: str, told: list[float] | None = None) -> Explained:
    report = (told if told is not None else []).append
    return explain_both(recipe, PICTURE, way, None, lambda share, sentence: report(share), lambda: False)


@pytest.mark.parametrize("way", [way for way in WAYS if way != HEADS])
def test_both_models_are_asked_about_the_baselines_answer(recipe, way):
    told: list[float] = []
    found = both(recipe, way, told)
    ready = prepared(PICTURE, preprocessing(recipe.model))
    baseline, after = load_trained(recipe.model), compress(recipe, context_for(recipe)).model
    assert found.target == int(baseline(ready)[0].argmax())
    assert np.allclose(found.before, attribute(baseline, ready, found.target, way).values, atol=1e-6)
    assert np.allclose(found.after, attribute(after, ready, found.target, way).values, atol=1e-6)
    assert not np.allclose(found.before, found.after)
    assert [error is not None for error in found.errors] == [way == "integrated_gradients"] * 2
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_heads_keep_their_old_numbers(recipe):
    found = both(recipe, HEADS)
    ready = prepared(PICTURE, preprocessing(recipe.model))
    done = compress(recipe, context_for(recipe))
    right = conductance_of_heads(done.model, ready, found.target)
    assert found.before.shape == found.after.shape == (3, 3)
    assert np.isfinite(found.before).all()
    assert np.isnan(found.after[1]).all()  # the block is gone
    assert any(np.isnan(found.after[block, :2]).any() for block in (0, 2)), "this seed tests nothing: take another"
    for block, heads in ((0, right.heads[0]), (2, right.heads[1])):
        stays = np.isfinite(found.after[block])
        kept = dict(done.techniques[1].kept)[f"blocks.{block - block // 2}"].heads  # type: ignore[attr-defined]
        assert tuple(np.flatnonzero(stays)) == kept
        assert np.allclose(found.after[block][stays], heads, atol=1e-6)
