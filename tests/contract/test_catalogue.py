"""Two faces, one story: for every technique of the catalogue, what `plan` claims is what `apply` makes of a real model.

A new technique is tested here the moment its file exists.
"""

from __future__ import annotations

import copy
import itertools
import re
import threading
from collections.abc import Iterator

import pytest
import tiny
import torch
from referee import carried_out, claimed, counted, hooks_on, same, state_of

import vitedge_core.techniques  # noqa: F401  fills the registry
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.plan import Plan
from vitedge_core.recipe import Scalar
from vitedge_core.registry import technique, techniques
from vitedge_core.techniques.base import Technique

KEYS = [cls.card.key for cls in techniques()]
BRIEF: dict[str, Scalar] = {"images": 16, "seconds": 20, "lr": 1e-3}  # of a training, where there are such knobs
SENTENCE = re.compile(r"[A-Z\w].{20,260}[.!]")


def variants(key: str) -> Iterator[dict[str, Scalar]]:
    """The defaults; then every option, both states of a switch and both ends of a range, one knob at a time."""
    knobs = technique(key).knobs()
    brief = {knob.name: BRIEF[knob.name] for knob in knobs if knob.name in BRIEF}
    yield brief
    for knob in knobs:
        if knob.name in brief:
            continue
        if isinstance(knob.default, bool):
            others: tuple[Scalar, ...] = (not knob.default,)
        elif knob.options:
            others = tuple(option for option in knob.options if option != knob.default)
        elif isinstance(knob.default, str):
            others = ()
        else:
            others = tuple(type(knob.default)(end) for end in (knob.low, knob.high))
        for value in others:
            yield {**brief, knob.name: value}


CASES = [
    pytest.param(key, knobs, id=f"{key}-{'-'.join(map(str, knobs.values()))}")
    for key in KEYS
    for knobs in variants(key)
]


def made(key: str, **knobs: Scalar) -> Technique:
    return technique(key).from_knobs({**next(variants(key)), **knobs})


def refusal(found: Technique, plan: Plan) -> str | None:
    """Why the technique cannot follow; a refusal must be one sentence."""
    why = found.supports(plan)
    assert why is None or SENTENCE.fullmatch(why), f"not one sentence: {why!r}"
    return why


@pytest.fixture(scope="module", params=tiny.HOSTS)
def host(request):
    """Name, model and plan of every kind of network."""
    model = tiny.network(request.param)
    return request.param, model, tiny.plan_of(model)


@pytest.fixture(scope="module", params=["plain", "swin"])
def typical(request):
    """The same of one plain and one hierarchical network, for what does not depend on finer points."""
    model = tiny.network(request.param)
    return request.param, model, tiny.plan_of(model)


@pytest.mark.parametrize(("key", "knobs"), CASES)
def test_plan_equals_what_is_counted(host, key, knobs):
    _, model, plan = host
    found = technique(key).from_knobs(knobs)
    if why := refusal(found, plan):
        pytest.skip(why)
    compressed, after = carried_out(found, model, plan, tiny.context())
    assert claimed(after) == counted(compressed, after)
    assert after.exact
    with torch.no_grad():
        assert compressed(tiny.images(2)).isfinite().all()


@pytest.mark.parametrize("key", KEYS)
def test_an_inexact_plan_says_so(host, key):
    _, model, plan = host
    for knobs in variants(key):
        found = technique(key).from_knobs(knobs)
        if refusal(found, plan):
            continue
        before, after = found.plan(plan), found.decide(model, plan, tiny.context()).plan(plan)
        assert not before.exact or (before.params, before.macs, before.zeros) == (after.params, after.macs, after.zeros)


@pytest.mark.parametrize("key", KEYS)
def test_same_seed_same_bits(typical, key):
    _, model, plan = typical
    found = made(key)
    if why := refusal(found, plan):
        pytest.skip(why)
    first, _ = carried_out(found, model, plan, tiny.context())
    torch.manual_seed(99)  # the global generator has no say
    second, _ = carried_out(found, model, plan, tiny.context())
    assert same(state_of(first), state_of(second))


@pytest.mark.parametrize("key", KEYS)
def test_nothing_else_is_touched(host, key):
    """`decide` leaves the model as it is, `apply` changes nothing but the copy it owns, and no hook stays."""
    _, model, plan = host
    found = made(key)
    if why := refusal(found, plan):
        pytest.skip(why)
    teacher = tiny.network("plain", 9)
    held = tiny.context(teacher=lambda name: teacher)
    before, teacher_before, random_before = state_of(model), state_of(teacher), torch.get_rng_state()
    compressed, _ = carried_out(found, model, plan, held)
    assert same(before, state_of(model))
    assert same(teacher_before, state_of(teacher))
    assert torch.equal(random_before, torch.get_rng_state())
    assert torch.equal(held.images, tiny.images(12))
    assert not [*hooks_on(model), *hooks_on(compressed), *hooks_on(teacher)]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not model.training


@pytest.mark.parametrize("key", KEYS)
def test_copies_are_independent(typical, key):
    _, model, plan = typical
    found = made(key)
    if why := refusal(found, plan):
        pytest.skip(why)
    compressed, _ = carried_out(found, model, plan, tiny.context())
    copied = copy.deepcopy(compressed)
    with torch.no_grad():
        expected = compressed(tiny.images(2))
        assert torch.equal(copied(tiny.images(2)), expected)
        for parameter in copied.parameters():
            parameter.zero_()
        assert torch.equal(compressed(tiny.images(2)), expected)


@pytest.mark.parametrize("key", KEYS)
def test_several_threads_may_use_it(typical, key):
    _, model, plan = typical
    found = made(key)
    if why := refusal(found, plan):
        pytest.skip(why)
    compressed, _ = carried_out(found, model, plan, tiny.context())
    inputs = [tiny.images(1 + number, number) for number in range(4)]
    with torch.no_grad():
        expected = [compressed(batch) for batch in inputs]
    results: list[bool] = []

    def work(number: int) -> None:
        for _ in range(5):
            with torch.no_grad():
                results.append(torch.allclose(compressed(inputs[number]), expected[number], atol=1e-5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert all(results)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_it_can_be_exported(typical, key):
    _, model, plan = typical
    found = made(key)
    if why := refusal(found, plan):
        pytest.skip(why)
    compressed, _ = carried_out(found, model, plan, tiny.context())
    with torch.no_grad():
        exported = torch.export.export(compressed, (tiny.images(1),), strict=False).module()
        torch.testing.assert_close(exported(tiny.images(1, 3)), compressed(tiny.images(1, 3)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("key", KEYS)
def test_cancelling_leaves_no_trace(typical, key):
    """Asked to stop at any moment, it raises, and model and hooks are as before."""
    _, model, plan = typical
    found = made(key)
    if why := refusal(found, plan):
        pytest.skip(why)
    before = state_of(model)
    asked = itertools.count()
    carried_out(found, model, plan, tiny.context(cancelled=lambda: next(asked) < 0))
    questions = next(asked)
    card = found.card
    assert questions or not (card.calibrates or card.trains), "it works on images and never asks whether to stop"
    for moment in {0, questions // 2, questions - 1} if questions else ():
        asked = itertools.count()
        with pytest.raises(Cancelled):
            carried_out(found, model, plan, tiny.context(cancelled=lambda a=asked, m=moment: next(a) >= m))
        assert same(before, state_of(model))
        assert not list(hooks_on(model))


_CUTS = ("head_mlp_taylor", "head_mlp_magnitude", "layer_drop", "magnitude")
_ANYWHERE = {
    *itertools.product(_CUTS, (*_CUTS, "uniform_ptq", "soft_logits")),
    ("uniform_ptq", "soft_logits"),
    *itertools.product(("soft_logits",), (*_CUTS, "uniform_ptq", "soft_logits")),
}
_ON_PLAIN = {
    *itertools.product((*_CUTS, "soft_logits"), ("tome",)),
    *itertools.product(("tome",), ("head_mlp_taylor", "head_mlp_magnitude", "magnitude", "uniform_ptq", "soft_logits")),
}
MUST_COMPOSE = {"plain": _ANYWHERE | _ON_PLAIN, "swin": _ANYWHERE}
PAIRS = list(itertools.product(KEYS, KEYS))


@pytest.mark.parametrize("name", ["plain", pytest.param("swin", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[f"{a}-then-{b}" for a, b in PAIRS])
def test_two_in_a_row(name, first, second):
    """Every pair either composes, counted exactly, or the second says in a sentence why it cannot follow."""
    model = tiny.network(name)
    plan = tiny.plan_of(model)
    if why := refusal(made(first), plan):
        pytest.skip(why)
    once, between = carried_out(made(first), model, plan, tiny.context())
    if why := refusal(made(second), between):
        assert (first, second) not in MUST_COMPOSE[name], why
        pytest.skip(why)
    twice, after = carried_out(made(second), once, between, tiny.context())
    assert claimed(after) == counted(twice, after)
    assert zeros_in(twice, after) >= after.zeros
    assert not list(hooks_on(twice))


def zeros_in(model: torch.nn.Module, plan: Plan) -> int:
    paths = [op.path for op in plan.ops if op.zeros]
    return sum(int((model.get_submodule(path).weight == 0).sum()) for path in paths)


KNOBS = [pytest.param(key, knob, id=f"{key}-{knob.name}") for key in KEYS for knob in technique(key).knobs()]


@pytest.mark.parametrize(("key", "knob"), KNOBS)
def test_bad_knobs_are_refused_in_a_sentence(key, knob):
    bad: list[object] = [None, [1], {"a": 1}]
    if knob.options:
        bad += ["no such option", 3]
    elif isinstance(knob.default, bool):
        bad += ["yes", 1]
    elif isinstance(knob.default, str):
        bad += [3, True]
    else:
        bad += [knob.low - 1, knob.high * 2 + 1, float("nan"), float("inf"), "many", True]
    for value in bad:
        with pytest.raises(VitEdgeError, match=re.escape(f"{key}.{knob.name}")):
            technique(key).from_knobs({knob.name: value})


@pytest.mark.parametrize(("key", "knob"), KNOBS)
def test_unknown_knob_names_the_nearest(key, knob):
    with pytest.raises(VitEdgeError, match=f"did you mean {re.escape(knob.name)}"):
        technique(key).from_knobs({f"{knob.name}x": 1})


@pytest.mark.parametrize(("key", "knobs"), CASES)
def test_a_step_names_the_technique_completely(key, knobs):
    found = technique(key).from_knobs(knobs)
    assert technique(found.step.technique).from_knobs(found.step.knobs) == found
    assert hash(found) == hash(technique(key).from_knobs(knobs))
