"""Presets are fitted to their model and can be carried out whole."""

from __future__ import annotations

import pytest

from vitedge_core.compress import plan_recipe
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.presets import presets
from vitedge_core.recipe import Recipe

MODELS = ("digits_vit_base", "digits_vit_small", "digits_swin", "digits_convnet", "deit_tiny_patch16_224")


def plan(recipe: Recipe):
    planned = plan_recipe(recipe)
    assert not planned.problems
    return planned.last


@pytest.mark.parametrize("model", MODELS)
def test_every_offered_recipe_can_be_carried_out(model: str) -> None:
    offered = presets(model)
    assert offered
    assert len({preset.title for preset in offered}) == len(offered)
    for preset in offered:
        assert preset.recipe.model == model
        assert preset.recipe.steps
        plan(preset.recipe)


@pytest.mark.parametrize("model", ["digits_vit_base", "digits_swin", "deit_tiny_patch16_224"])
def test_half_is_half_and_no_more_is_cut_than_needed(model: str) -> None:
    recipe = {preset.key: preset.recipe for preset in presets(model)}["half_macs"]
    whole, (step,) = plan(recipe.baseline).macs, recipe.steps
    assert plan(recipe).macs <= 0.5 * whole
    milder = Recipe(model, (step.with_knob("ratio", round(float(step.knobs["ratio"]) - 0.05, 2)),))
    assert plan(milder).macs > 0.5 * whole


def test_fewer_tokens_leaves_about_half_of_them() -> None:
    recipe = {preset.key: preset.recipe for preset in presets("digits_vit_base")}["fewer_tokens"]
    before, after = plan(recipe.baseline), plan(recipe)
    assert 0.35 < after.blocks[-1].mlp_tokens / before.blocks[-1].mlp_tokens < 0.65


def test_what_makes_no_sense_is_not_offered() -> None:
    keys = {preset.key for preset in presets("digits_convnet")}
    assert "eight_bit" in keys
    assert not keys & {"fewer_tokens", "half_macs", "shallower", "heal", "microcontroller"}


def test_nobody_knows_the_model() -> None:
    with pytest.raises(VitEdgeError, match="did you mean"):
        presets("digits_vit_bass")
