"""A recipe survives every journey, and no stranger's link does harm."""

import base64
import json
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import MAX_JSON, MAX_STEPS, MAX_TOKEN, Recipe, Step

names = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=30).filter(str.isprintable)
values = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
)
steps = st.builds(
    lambda technique, knobs, enabled: Step(technique, tuple(sorted(knobs.items())), enabled),
    names, st.dictionaries(names, values, max_size=5), st.booleans(),
)  # fmt: skip
recipes = st.builds(Recipe, names, st.lists(steps, max_size=4).map(tuple), st.integers(0, 2**31 - 1))


def token_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")


def told(read: Callable[[str], Recipe], text: str) -> str | None:
    """The sentence with which a text is refused, None if it is a recipe."""
    try:
        read(text)
    except VitEdgeError as error:
        return str(error)
    return None


@given(recipes)
def test_round_trips(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_token(recipe.to_token()) == recipe


@given(recipes)
def test_types_of_knobs_survive(recipe):
    back = Recipe.from_token(recipe.to_token())
    for one, other in zip(recipe.steps, back.steps, strict=True):
        assert [type(value) for _, value in one.params] == [type(value) for _, value in other.params]


@given(st.dictionaries(names, values, max_size=6).flatmap(lambda d: st.tuples(st.just(d), st.permutations(list(d)))))
def test_the_order_of_knobs_never_matters(drawn):
    knobs, order = drawn
    one, other = Step("x"), Step("x")
    for name in knobs:
        one = one.with_knob(name, knobs[name])
    for name in order:
        other = other.with_knob(name, knobs[name])
    assert one == other
    assert Recipe("m", (one,)).digest == Recipe("m", (other,)).digest


def test_the_digest_names_what_is_computed():
    base = Recipe("m", (Step.of("tome", r=8),))
    switched_off = Recipe("m", (*base.steps, Step.of("magnitude", enabled=False, ratio=0.5)))
    assert base.digest == switched_off.digest
    others = [
        Recipe("n", base.steps),
        Recipe("m", base.steps, seed=1),
        Recipe("m", (Step.of("tome", r=9),)),
        Recipe("m", (*base.steps, *base.steps)),
        base.baseline,
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 6


def test_prefixes_leave_out_what_is_switched_off():
    a, b, c = Step.of("a"), Step.of("b", enabled=False), Step.of("c")
    recipe = Recipe("m", (a, b, c), seed=4)
    assert [prefix.steps for prefix in recipe.prefixes] == [(), (a,), (a, c)]
    assert all(prefix.seed == 4 for prefix in recipe.prefixes)
    assert recipe.prefixes[0] == recipe.baseline


@given(st.text(max_size=200))
def test_any_text_is_a_recipe_or_one_sentence(text):
    for read in (Recipe.from_token, Recipe.from_json):
        assert told(read, text) is None or "\n" not in told(read, text)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {"model": json_values | st.just("m")},
        optional={
            "steps": json_values | st.lists(st.fixed_dictionaries({"technique": json_values}, optional={
                "params": json_values, "enabled": json_values})),
            "seed": json_values, "version": json_values, "extra": json_values,
        },
    )
)  # fmt: skip
def test_any_json_in_a_link_is_a_recipe_or_one_sentence(plain):
    token = token_of(json.dumps(plain).encode())
    sentence = told(Recipe.from_token, token)
    if sentence is None:
        recipe = Recipe.from_token(token)
        assert Recipe.from_token(recipe.to_token()) == recipe
    else:
        assert len(sentence) < 400


@pytest.mark.parametrize(
    "token",
    [
        "",
        "A",
        "x" * (MAX_TOKEN + 1),
        "%%%",
        "ab cd",
        "é",
        token_of(b"0" * (MAX_JSON + 1)),
        token_of(b" " * 50_000_000),  # unfolds to fifty megabytes
        token_of(b"[" * 16_000),  # nests deeper than the parser goes
        token_of(b'{"model": "m"}')[:-4],
        token_of(b'{"model": "m", "seed": 1e400}'),
        token_of(b'{"model": "m", "seed": true}'),
        token_of(b'{"model": "m", "steps": [{"technique": "t", "params": {"x": NaN}}]}'),
        token_of(b'{"model": "m", "steps": [{"technique": "t", "params": {"x": [1]}}]}'),
        token_of(b'{"model": "m\\u0000"}'),
        token_of(b'{"model": "m", "version": 2}'),
        token_of(b'{"model": "m", "__class__": "os.system"}'),
        token_of(json.dumps({"model": "m", "steps": [{"technique": "t"}] * (MAX_STEPS + 1)}).encode()),
        base64.urlsafe_b64encode(b"\x80\x04\x95cposix\nsystem\n").decode(),  # a pickle
    ],
)
def test_hostile_tokens_give_one_sentence(token):
    with pytest.raises(VitEdgeError) as caught:
        Recipe.from_token(token)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_numbers_no_json_reader_keeps_are_refused():
    with pytest.raises(VitEdgeError, match="too large"):
        Recipe.from_dict({"model": "m", "steps": [{"technique": "t", "params": {"x": 2**53 + 1}}]})
    with pytest.raises(VitEdgeError, match="finite"):
        Recipe.from_dict({"model": "m", "steps": [{"technique": "t", "params": {"x": float("inf")}}]})
