"""How costs grow with the input, against what the papers say of each kind of attention."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.cost.report import cost
from vitedge_core.cost.scaling import growth, kinds, size
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments import scaling as module
from vitedge_core.experiments.scaling import MOST, scaling, usual_sides
from vitedge_core.models.trace import trace
from vitedge_core.plan import Kind
from vitedge_core.recipe import Recipe, Step

PRODUCTS = Kind.ATTENTION.value
VIT = Recipe("digits_vit_small")


def test_global_attention_grows_like_the_square_and_the_rest_like_the_tokens():
    found = scaling(VIT, (48, 96, 192))
    assert [each.tokens for each in found.sizes] == [65, 257, 1025]
    first, last = found.sizes[0], found.sizes[-1]
    assert last.macs(PRODUCTS) * 65**2 == first.macs(PRODUCTS) * 1025**2
    assert last.macs("MLP") * 65 == first.macs("MLP") * 1025
    assert growth(found.sizes, PRODUCTS) == pytest.approx(2, abs=0.02)
    assert growth(found.sizes, "patch embedding") == 1
    assert growth(found.sizes, "classifier") == 0


def test_windows_grow_like_the_tokens():
    found = scaling(Recipe("digits_swin"), (48, 96))
    assert growth(found.sizes, PRODUCTS) == pytest.approx(1, abs=0.3)
    assert growth(found.sizes, PRODUCTS) < growth(scaling(VIT, (48, 96)).sizes, PRODUCTS) - 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "power"),
    [("deit_tiny_patch16_224", 2), ("swin_tiny_patch4_window7_224", 1), ("pvt_v2_b0", 2), ("pvt_v2_b2_li", 1),
     ("efficientvit_b0", 1)],
)  # fmt: skip
def test_each_kind_of_attention_has_its_power(model, power):
    found = scaling(Recipe(model), (224, 448))
    assert growth(found.sizes, PRODUCTS) == pytest.approx(power, abs=0.01)
    assert list(module.ATTENTIONS).index(model) >= 0


def test_a_point_is_the_cost_at_that_size():
    recipe = Recipe("digits_vit_small", (Step.of("head_mlp_magnitude", ratio=0.5),))
    found = scaling(recipe, (96,), 3)
    plain = cost(trace("digits_vit_small", 96), 3)
    assert found.sizes[0].cost.macs.value < plain.macs.value
    assert size(trace("digits_vit_small", 96), 3).cost == plain
    assert sum(found.sizes[0].macs(kind) for kind in kinds(found.sizes)) == found.sizes[0].cost.macs.value


def test_a_size_that_is_not_possible_is_one_sentence_and_the_others_stand():
    found = scaling(VIT, (48, 3, 0, 99_999))
    assert [each.side for each in found.sizes] == [48]
    assert list(found.problems) == [3, 0, 99_999]
    assert all("\n" not in sentence and sentence.endswith(".") for sentence in found.problems.values())
    assert growth(found.sizes) is None
    assert found.to_dict()["problems"]["0"] == "The side of an image must be 1 to 4096 pixels, not 0."


@pytest.mark.parametrize("sides", [(), tuple(range(48, 61)), (0,), (3,)])
def test_no_curve_without_sizes(sides):
    with pytest.raises(VitEdgeError, match=r"^[^\n]+\.$"):
        scaling(VIT, sides)


def test_it_can_be_stopped():
    told = []
    with pytest.raises(Cancelled):
        scaling(VIT, (48, 96), report=lambda *news: told.append(news), cancelled=lambda: len(told) > 0)
    assert told == [(0.0, "digits_vit_small at 48 pixels")]


@given(st.integers(1, 4096))
def test_usual_sizes_hold_the_models_own(own):
    sides = usual_sides(own)
    assert own in sides
    assert list(sides) == sorted(set(sides))
    assert max(sides) <= max(own, MOST)


def test_plain_values_have_everything():
    told = scaling(VIT, (48, 96)).to_dict()
    assert set(told) == {"sizes", "power_of_pixels", "problems"}
    assert set(told["sizes"][0]) == {"side", "tokens", "params", "macs", "peak_memory_bytes", "by_kind"}
    assert told["power_of_pixels"]["total"] == growth(scaling(VIT, (48, 96)).sizes) > 1
