"""The space of a sweep: which recipes it holds, and what is refused."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_sweep import RECIPE, SEARCH, SPACE
from vitedge_core.compress import plan_recipe
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.axes import Axis, Blocks, Choice, range_around, spaced, values_between
from vitedge_core.experiments.goal import Goal, Limit
from vitedge_core.experiments.space import RUNGS, Space, read_space
from vitedge_core.experiments.warm_start import nearest, spread, warm_start
from vitedge_core.recipe import Recipe, Step
from vitedge_core.techniques.base import Knob

THREE = Recipe(
    "digits_vit_base", (Step.of("head_mlp_magnitude", ratio=0.3), Step.of("tome", r=2), Step.of("uniform_ptq"))
)
WIDE = Space(
    THREE, (Axis(0, "ratio", (0.2, 0.4)), Blocks(2, "keep", (0, 2, 5))), models=("digits_vit_small",),
    optional=(1,), orders=((1, 0, 2),), sampler="tpe", trials=30, seed=3, halving=True, limit=None,
    goal=Goal(("accuracy", "macs", "weight_bytes"), (Limit.parse("lost <= 1 point"),)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ((), "at least one knob"),
        ((Axis(5, "ratio", (0.1,)),), "no active step 6"),
        ((Axis(0, "ratio", ()),), "at least one value"),
        ((Axis(0, "ratio", (0.1, 0.1)),), "twice"),
        ((Axis(0, "ratio", (0.1,)), Axis(0, "ratio", (0.2,))), "only once"),
        ((Axis(0, "ratio", (7,)),), "outside"),
        ((Axis(0, "ration", (0.1,)),), "ratio"),
        ((Axis(0, "seed", tuple(range(3000))),), "no knob"),
    ],
)
def test_a_space_that_makes_no_sense(axes, sentence):
    with pytest.raises(VitEdgeError, match=sentence):
        Space(RECIPE, axes).check()


def test_a_grid_without_end():
    ratios = tuple(round(0.1 + i / 1000, 3) for i in range(300))
    with pytest.raises(VitEdgeError, match="2,100 recipes"):
        Space(RECIPE, (Axis(0, "ratio", ratios), Axis(1, "w_bits", tuple(range(2, 9))))).check()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1}', "[" * 9999, '{"version": 9}', '{"version": 1, "axes": 3}']
)
def test_a_file_that_is_no_space(tmp_path, text):
    path = tmp_path / "space.json"
    path.write_text(text)
    with pytest.raises(VitEdgeError):
        read_space(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(VitEdgeError, match="No such file"):
        read_space(tmp_path / "none.json")
    (tmp_path / "large.json").write_text(" " * 10**6)
    with pytest.raises(VitEdgeError, match="at most"):
        read_space(tmp_path / "large.json")


def test_a_space_comes_back_as_it_was():
    assert Space.from_dict(json.loads(json.dumps(SPACE.to_dict()))) == SPACE
    looking = replace(SPACE, gaze=True)
    assert Space.from_dict(json.loads(json.dumps(looking.to_dict()))) == looking
    assert Space.from_dict(json.loads(json.dumps(WIDE.to_dict()))) == WIDE


@given(st.integers(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_values_are_on_the_knobs_steps_and_inside(count, one, other):
    knob = Knob("ratio", 0.5, "", "", low=0.0, high=0.9, step=0.05)
    low, high = sorted((round(one * 18) * 0.05, round(other * 18) * 0.05))
    values = values_between(knob, low, high, count)
    assert 1 <= len(values) <= count
    assert list(values) == sorted(set(values))
    for value in values:
        assert knob.check("t", value) == value
        assert abs(value / 0.05 - round(value / 0.05)) < 1e-6
        assert low - 1e-9 <= value <= high + 1e-9


def test_whole_knobs_get_whole_values():
    knob = Knob("w_bits", 8, "", "", low=2, high=16, step=1)
    assert values_between(knob, 2, 8, 4) == (2, 4, 6, 8)
    assert values_between(knob, 2, 4, 9) == (2, 3, 4)
    assert all(type(value) is int for value in values_between(knob, 2, 8, 4))


def test_a_range_around_the_recipes_value():
    ratio = Knob("ratio", 0.5, "", "", low=0.0, high=0.9, step=0.05)
    assert range_around(ratio, 0.3) == pytest.approx((0.15, 0.6))
    assert range_around(ratio, 0.8) == pytest.approx((0.4, 0.9))
    assert range_around(ratio, 0.0) == (0.0, 0.9)
    assert range_around(Knob("w_bits", 8, "", "", low=2, high=16, step=1), 3) == (2, 6)


def test_a_title_in_words():
    assert SPACE.title == "6 recipes of Digits ViT base: bits of weights × share removed"
    inside = replace(SPACE, engine="onnxruntime")
    assert inside.title == "6 recipes of Digits ViT base in ONNX Runtime: bits of weights × share removed"


def test_settings_name_recipes():
    assert WIDE.combinations == 2 * 2 * 2 * 2 * 8
    # without the token merging the order does not show
    recipes = {space.digest for space in WIDE.recipes()}
    assert len(recipes) == WIDE.size == 2 * 2 * 8 * (2 + 1)
    settings = {
        "model": "digits_vit_small", "order": "2 1 3", "1 head_mlp_magnitude.ratio": 0.4, "2 tome": True,
        "3 uniform_ptq.keep 0": True, "3 uniform_ptq.keep 2": False, "3 uniform_ptq.keep 5": True,
    }  # fmt: skip
    recipe = WIDE.at(settings)
    assert recipe.model == "digits_vit_small"
    assert [step.technique for step in recipe.active] == ["tome", "head_mlp_magnitude", "uniform_ptq"]
    assert recipe.steps[2].knobs["keep"] == "0,5"
    assert recipe.steps[1].knobs["ratio"] == 0.4
    off = WIDE.at({**settings, "2 tome": False})
    assert [step.technique for step in off.active] == ["head_mlp_magnitude", "uniform_ptq"]


@given(st.data())
def test_any_settings_give_a_recipe_that_is_found_again(data):
    settings = {name: data.draw(st.sampled_from(choice.values)) for name, choice in WIDE.choices.items()}
    recipe = WIDE.at(settings)
    again = nearest(replace(WIDE, orders=()), recipe) if settings.get("order") == "1 2 3" else None
    if again is not None:
        assert replace(WIDE, orders=()).at(again).digest == recipe.digest


def test_a_search_begins_with_the_recipe_and_the_presets_it_holds():
    begun = [SEARCH.at(settings) for settings in warm_start(SEARCH)]
    assert begun[0].digest == RECIPE.digest
    assert any([step.technique for step in recipe.active] == ["uniform_ptq"] for recipe in begun)
    assert len({recipe.digest for recipe in begun}) == len(begun) >= 3
    assert all(recipe.model == "digits_vit_base" for recipe in begun)
    for settings in warm_start(SEARCH):
        assert all(settings[name] in choice.values for name, choice in SEARCH.choices.items())


def test_recipes_at_random_are_new():
    taken = [recipe.digest for recipe in itertools.islice(SPACE.recipes(), 4)]
    found = [SPACE.at(settings).digest for settings in spread(SPACE, 5, 0, taken)]
    assert len(found) == 2
    assert not set(found) & set(taken)


def test_a_search_sees_evenly_spaced_numbers_as_a_range():
    assert Choice((2, 4, 6)).distribution(ordered=True).to_external_repr(4) == 4
    assert type(Choice((2, 4, 6)).distribution(ordered=True)).__name__ == "IntDistribution"
    assert type(Choice((0.1, 0.2, 0.3)).distribution(ordered=True)).__name__ == "FloatDistribution"
    for values in ((2, 4, 8), (2, 4), ("a", "b", "c"), (True, False), (3, 2, 1)):
        assert type(Choice(values).distribution(ordered=True)).__name__ == "CategoricalDistribution"
    assert Choice((0.1, 0.2, 0.3)).nearest(0.30000000000000004) == 0.3


@given(st.integers(-50, 50), st.integers(0, 40), st.integers(1, 9))
def test_a_range_has_its_ends(low, count, by):
    values = spaced(low, low + count * by, by)
    assert values == tuple(range(low, low + count * by + 1, by))
    assert all(type(value) is int for value in values)
    halves = spaced(low / 2, low / 2 + count * by / 20, by / 20)
    assert len(halves) == count + 1
    assert halves[-1] == pytest.approx(low / 2 + count * by / 20)


def test_a_range_of_a_file():
    plain = {**SPACE.to_dict(), "axes": [{"step": 0, "knob": "ratio", "low": 0.1, "high": 0.3, "by": 0.05}]}
    assert Space.from_dict(plain).axes == (Axis(0, "ratio", (0.1, 0.15, 0.2, 0.25, 0.3)),)
    for odd in ({"low": 0.3, "high": 0.1, "by": 0.1}, {"low": 0, "high": 1, "by": 0}, {"low": 0, "high": 1e9, "by": 1}):
        with pytest.raises(VitEdgeError, match=r"[Ff]rom"):
            Space.from_dict({**plain, "axes": [{"step": 0, "knob": "ratio", **odd}]})


def test_every_order():
    plain = {**WIDE.to_dict(), "orders": "any"}
    assert len(Space.from_dict(plain).choices["order"].values) == 6
    many = {**plain, "recipe": replace(THREE, steps=THREE.steps * 2).to_dict()}
    with pytest.raises(VitEdgeError, match="too many"):
        Space.from_dict(many)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sampler": "magic"}, "no search method"),
        ({"trials": None}, 'needs "trials"'),
        ({"trials": 0}, "1 to 20,000"),
        ({"optional": (7,)}, "no active step 8"),
        ({"orders": ((0, 0, 1),)}, "once"),
        ({"models": ("digits_vit_small",) * 17}, "at most 16"),
        ({"goal": Goal(("macs", "accuracy"))}, "trades"),
        ({"goal": Goal(("accuracy", "beauty"))}, "no objective"),
        ({"goal": Goal(("accuracy", "device_seconds"))}, "Name the device"),
        ({"goal": Goal(limits=(Limit.parse("macs <= 1 M"), Limit.parse("macs >= 2 M")))}, "contradict"),
        ({"axes": (Blocks(2, "w_bits", (1, 2)),)}, "w_bits"),
        ({"engine": "openvin"}, "did you mean 'openvino'"),
        ({"engine": "onnxruntime", "gaze": True}, "in eager PyTorch only"),
    ],
)
def test_a_search_that_makes_no_sense(changes, sentence):
    with pytest.raises(VitEdgeError, match=sentence):
        replace(WIDE, **changes).check()


def test_a_search_over_a_large_space_is_no_grid():
    ratios = tuple(i / 100 for i in range(1, 80))
    large = replace(WIDE, axes=(Axis(0, "ratio", ratios), Blocks(2, "keep", tuple(range(6)))), sampler="nsga2")
    large.check()
    assert large.total == 30
    with pytest.raises(VitEdgeError, match="at most 2,000"):
        replace(large, sampler="grid", trials=None).check()


@pytest.mark.parametrize(
    "change",
    [
        {"axes": [{"step": 0}]}, {"axes": [[]]}, {"axes": 3}, {"axes": [{"step": 0, "knob": "ratio", "values": "abc"}]},
        {"axes": [{"step": 0, "knob": "ratio", "values": [[1]]}]}, {"models": "many"}, {"limits": ["macs"]},
        {"limits": "macs <= 3"}, {"orders": "none"}, {"trials": "few"}, {"seed": None}, {"surprise": 1},
        {"objectives": 3}, {"optional": ["a"]}, {"axes": [{"step": 2, "knob": "keep", "blocks": list(range(99))}]},
    ],
)  # fmt: skip
def test_a_damaged_space_is_one_sentence(change):
    with pytest.raises(VitEdgeError) as caught:
        Space.from_dict({**WIDE.to_dict(), **change})
    assert str(caught.value).endswith(".")


def test_the_space_in_the_readme_can_be_swept():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    space = Space.from_dict(json.loads(text.partition("```json")[2].partition("```")[0]))
    space.check()
    assert (space.total, len(space.goal.limits)) == (20, 2)


def test_in_an_engine_every_recipe_sees_all_images():
    halving = replace(WIDE, halving=True, limit=None)
    assert halving.rungs == RUNGS
    assert replace(halving, engine="onnxruntime").rungs == ()
    assert Space.from_dict(replace(WIDE, engine="onnxruntime").to_dict()).engine == "onnxruntime"


def test_every_recipe_of_a_wide_space_can_be_planned():
    for recipe in itertools.islice(WIDE.recipes(), 12):
        assert not plan_recipe(recipe).problems
