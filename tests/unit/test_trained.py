"""Trained weights that come with VitEdge stand for the very training they came from, and for no other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitedge_core import compress as carrying
from vitedge_core.compress import compress, context_for, spelled_out, trains
from vitedge_core.datasets.sets import DIGITS, open_images
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.winners import WINNERS
from vitedge_core.models import trained
from vitedge_core.recipe import Recipe, Step
from vitedge_core.techniques.distillation.soft_logits import SoftLogits

CUT = Step.of("head_mlp_taylor", ratio=0.5)
RECIPE = Recipe("digits_vit_small", (CUT, Step.of("soft_logits", images=64, lr=1e-3)))
SAME = Recipe("digits_vit_small", (CUT, Step.of("soft_logits", images=64, lr=1e-3, weight=0.7)))  # a default, named
OTHER = Recipe("digits_vit_small", (CUT, Step.of("soft_logits", images=128, lr=1e-3)))


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of trained weights with one result in it, and the model that went in."""
    monkeypatch.setattr(trained, "FOLDER", tmp_path)
    trained._known.cache_clear()
    carrying._memory.clear()
    anew: Any = context_for(RECIPE)
    images, anew.key = anew.key, "anew"
    made = compress(RECIPE, anew)
    trained.keep(made.model, {"recipe": spelled_out(RECIPE).to_dict(), "images": images}, tmp_path / "one.safetensors")
    yield tmp_path, made.model
    trained._known.cache_clear()
    carrying._memory.clear()


def untrainable(monkeypatch):
    def apply(self, model, context):
        raise AssertionError("it trains")

    monkeypatch.setattr(SoftLogits, "apply", apply)


def test_it_stands_for_its_own_training(shelf, monkeypatch):
    untrainable(monkeypatch)
    told = []
    for recipe in (RECIPE, SAME):
        model = compress(recipe, report=lambda share, sentence: told.append(sentence)).model
        for name, value in model.state_dict().items():
            assert torch.equal(value, shelf[1].state_dict()[name].half().float())
        assert not model.training
    assert any("one comes with VitEdge" in sentence for sentence in told)


def test_nobody_waits_for_a_training_that_was_done(shelf):
    assert not trains(SAME)
    assert not trains(Recipe(RECIPE.model, (CUT,)))
    assert trains(OTHER)
    assert trains(RECIPE, "/a/folder/of/ones/own")
    twice = Recipe(RECIPE.model, (*RECIPE.steps, Step.of("soft_logits", images=64)))
    assert trains(twice)


def test_what_follows_is_carried_out_on_it(shelf, monkeypatch):
    untrainable(monkeypatch)
    longer = Recipe(RECIPE.model, (*RECIPE.steps, Step.of("tome", r=4)))
    assert compress(longer).last.merges_tokens


@pytest.mark.slow
def test_another_training_or_other_images_are_carried_out(shelf, monkeypatch):
    untrainable(monkeypatch)
    with pytest.raises(AssertionError, match="it trains"):
        compress(OTHER)
    other: Any = context_for(RECIPE)
    other.key = "other images"
    with pytest.raises(AssertionError, match="it trains"):
        compress(RECIPE, other)


@pytest.mark.parametrize("damage", ["cut", "other shape"])
def test_a_damaged_file_is_told(shelf, damage):
    folder, model = shelf
    path = folder / "one.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        card = {"recipe": spelled_out(RECIPE).to_dict(), "images": open_images(DIGITS).digest}
        trained.keep(model.blocks[0], card, path)
    with pytest.raises(VitEdgeError, match="train it anew"):
        compress(RECIPE)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(trained.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_what_comes_with_vitedge_belongs_to_its_recipe(path, monkeypatch):
    """Also when a technique gets another knob: then its card must be written anew, else nobody finds the weights."""
    untrainable(monkeypatch)
    recipe, card = WINNERS[path.stem], trained.card(path.stem)
    assert Recipe.from_dict(card["recipe"]) == spelled_out(recipe)
    made = compress(recipe)
    assert (made.last.params, made.last.macs) == (card["params"], card["macs"])
    assert path.with_suffix(".safetensors").stat().st_size < 1_000_000
