"""One image before and after a recipe: the same block and head on both sides, whatever was removed."""

from __future__ import annotations

from dataclasses import replace

import homegrown
import numpy as np
import pytest
import torch
from PIL import Image

from vitedge_core.experiments.gaze import Gaze, View, class_names, confidence, look, on_object, overlap
from vitedge_core.explain.fate import Fate
from vitedge_core.explain.lineage import Origin, origins
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe, Step
from vitedge_core.surgery.structure import Kept
from vitedge_core.techniques.base import Technique
from vitedge_core.techniques.pruning.head_mlp_magnitude import HeadMlpMagnitude
from vitedge_core.techniques.pruning.layer_drop import LayerDrop

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def model() -> str:
    return homegrown.keep("gaze")


def after(model: str, *steps: Step) -> Gaze:
    return look(Recipe(model, steps), PICTURE)


def test_without_steps_both_sides_are_the_same(model):
    gaze = after(model)
    assert not gaze.flipped
    assert not gaze.merges
    for view in (View(None), View(0), View(2, "max"), View(1, 2)):
        before, now = gaze.maps(view)
        assert before is not None
        assert (before == now).all()
        assert overlap(before, before).value == pytest.approx(1, abs=1e-5)
        assert gaze.why_not(view) == ""
    assert gaze.pixels.shape == (48, 48, 3)


def test_a_removed_block_is_named_and_the_others_keep_their_numbers(model):
    gaze = after(model, Step.of("layer_drop", blocks="1"))
    assert [gaze.counterpart(block) for block in range(3)] == [0, None, 1]
    assert gaze.maps(View(1))[1] is None
    assert gaze.why_not(View(1)) == "The recipe removed block 2, so only the baseline has a map of it."
    assert gaze.why_not(View(2)) == ""
    before, now = gaze.maps(View(0))
    assert np.allclose(before, now, atol=1e-6)  # nothing happened before block 1
    assert [found is None for found in gaze.strip()[1]] == [False, True, False]


def test_heads_are_compared_with_themselves(model):
    gaze = after(model, Step.of("head_mlp_magnitude", ratio=0.34, mlp=False, compensate=False))
    kept = gaze.origins[0].heads
    assert len(kept) == 2
    for head in range(3):
        before, now = gaze.maps(View(0, head))
        if head in kept:
            assert np.allclose(before, now, atol=1e-6)  # the first block sees the same tokens
            assert gaze.why_not(View(0, head)) == ""
        else:
            assert now is None
            assert f"removed head {head + 1} of block 1" in gaze.why_not(View(0, head))


def test_merged_tokens_are_grouped_on_the_grid(model):
    gaze = after(model, Step.of("tome", r=6))
    assert gaze.merges
    assert [len(np.unique(gaze.groups(block))) for block in range(3)] == [58, 52, 46]
    assert gaze.groups(0).shape == (8, 8)
    assert gaze.tokens == 47
    for found in gaze.maps(View(None)):
        assert found is not None
        assert 0 < found.sum() <= 1 + 1e-5


def test_a_patch_looks_before_and_after(model):
    gaze = after(model, Step.of("tome", r=6))
    for view in (View(None, patch=9), View(2, patch=9), View(1, 2, patch=9)):
        before, now = gaze.maps(view)
        assert before is not None
        assert now is not None
        assert not np.allclose(before, gaze.maps(View(view.block, view.head))[0])
        assert gaze.why_not(view) == ""
    before, now = gaze.strip("mean", 9)
    assert np.allclose(before[0], now[0], atol=1e-6)  # nothing is merged before the first block's attention


def test_gradients_are_of_the_baselines_answer_in_both_models(model):
    recipe = Recipe(model, (Step.of("tome", r=6),))
    gaze = look(recipe, PICTURE, weighted=True)
    answer = int(gaze.before.logits.argmax())
    assert gaze.before.toward == gaze.after.toward == answer
    for found in gaze.maps(View(None, weighted=True)):
        assert found is not None
        assert found.max() > 0
    assert not np.allclose(gaze.maps(View(None, weighted=True))[0], gaze.maps(View(None))[0])


def test_every_merge_of_a_patch_is_told(model):
    gaze = after(model, Step.of("tome", r=6))
    merged = int(np.argmax(np.bincount(gaze.groups(2).ravel())))
    patch = int(np.flatnonzero(gaze.groups(2).ravel() == merged)[0])
    told = gaze.story(patch)
    assert [turn.block for turn in told] == [0, 1, 2]
    for turn in told:
        owners = gaze.groups(turn.block).ravel()
        assert list(turn.companions) == np.flatnonzero(owners == owners[patch]).tolist()
    assert "merged" in {turn.became for turn in told}


def test_a_dropped_patch_looks_no_more(model):
    """No method of the catalogue drops tokens yet: a block after which one is gone stands in for it."""
    gaze = after(model)
    one = 1 + 9
    step = torch.arange(65)
    step[one], step[one + 1 :] = -1, step[one + 1 :] - 1
    without = Fate.untouched(65).then(step, 64)
    last = gaze.after.blocks[2]
    keep = step >= 0
    fewer = replace(last, weights=last.weights[..., keep, :][..., keep], places=torch.arange(64)[None], fate=without)
    seen = replace(gaze.after, blocks=(*gaze.after.blocks[:2], fewer), final=without)
    gaze = replace(gaze, after=seen)
    assert gaze.story(9)[-1].became == "dropped"
    assert [turn.block for turn in gaze.story(9)] == [0, 1]
    assert "dropped this patch in block 2" in gaze.why_not(View(2, patch=9))
    assert "dropped this patch in block 2" in gaze.why_not(View(None, patch=9))
    assert gaze.maps(View(2, patch=9))[1] is None
    assert gaze.maps(View(None, patch=9))[1] is None
    assert gaze.why_not(View(1, patch=9)) == ""
    assert gaze.why_not(View(2, patch=8)) == ""
    found = gaze.maps(View(2))[1]
    assert found is not None
    assert found.ravel()[9] == 0


def test_several_removals_in_a_row_keep_the_lineage():
    """Blocks go, then heads by the new paths, then heads of what is left."""
    plans, done = [trace("digits_vit_base")], []

    def then(technique: Technique) -> None:
        plans.append(technique.plan(plans[-1]))
        done.append(technique)

    everything = tuple(range(512))
    then(LayerDrop(dropped=(0, 2)))
    then(HeadMlpMagnitude(kept=(("blocks.1", Kept((1, 3), everything)),)))
    then(HeadMlpMagnitude(kept=(("blocks.1", Kept((1,), everything)),)))
    found = origins(plans, done)
    assert [origin.block for origin in found] == [1, 3, 4, 5]
    assert found[1] == Origin(3, (3,))
    assert found[0].heads == (0, 1, 2, 3)


def test_attention_on_an_object_is_measured_by_its_mask():
    mask = torch.zeros(48, 48, dtype=torch.bool)
    mask[:12, :12] = True
    even = np.full((4, 4), 1 / 16, np.float32)
    focused = np.zeros((4, 4), np.float32)
    focused[0, 0] = 0.5  # the other half goes to the class token
    assert on_object(even, mask).value == pytest.approx(1 / 16)
    assert on_object(focused, mask).value == 1
    assert overlap(even, focused).value == pytest.approx(1 / 16)


def test_figures_carry_their_source(model):
    gaze = after(model)
    sure = confidence(gaze.before, int(gaze.before.logits.argmax()), "baseline")
    assert sure.value == float(gaze.before.probabilities.max())
    assert "baseline" in sure.source


def test_names_of_classes():
    assert class_names("digits_vit_base", 10)[7] == "7"
    assert class_names("deit_tiny_patch16_224", 1_000)[0] == "tench"
    assert class_names("deit_tiny_patch16_224", 3) == ("class 0", "class 1", "class 2")
