"""torchao's engines: what they round, how far that moves the answers, and what really runs."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from carried import built, carried_out, relative

from vitedge_core.backends import engine, torchao
from vitedge_core.techniques.pruning.head_mlp_magnitude import HeadMlpMagnitude
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq
from vitedge_core.techniques.tokens.tome import Tome

DYNAMIC, WEIGHTS = "torchao-dynamic-int8", "torchao-weight-only-int8"
pytest.importorskip("torchao")


def rounded(model, *, dynamic: bool):
    own = copy.deepcopy(model)
    torchao._round(own, dynamic=dynamic)
    return own


def test_a_recipe_that_rounds_is_refused_with_the_way_out():
    plan = tiny.plan_of(tiny.network("plain"))
    for key in (DYNAMIC, WEIGHTS):
        assert engine(key).supports(plan) is None
        assert "take the quantisation step out" in str(engine(key).supports(UniformPtq(w_bits=8).plan(plan)))


def test_its_own_rounding_is_a_step_in_words():
    plan = tiny.plan_of(tiny.network("plain"))
    assert "one scale for each token" in str(engine(DYNAMIC).own_step(plan))
    assert "activations stay in float" in str(engine(WEIGHTS).own_step(plan))
    assert "not time" in engine(WEIGHTS).about


def test_where_it_is_not_installed_the_line_is_told(monkeypatch):
    from vitedge_core.backends import base

    monkeypatch.setattr(base, "find_spec", lambda name: None)
    assert engine(DYNAMIC).missing() == (
        "torchao, dynamic int8 needs torchao, which is not installed here; run: pip install torchao"
    )


@pytest.mark.parametrize("dynamic", [True, False])
def test_rounding_is_small_and_independent_of_the_other_images(dynamic):
    model = tiny.network("plain")
    images = tiny.images(8)
    own = rounded(model, dynamic=dynamic)
    with torch.inference_mode():
        want, got, alone = model(images), own(images), own(images[3:4])
    assert 0 < relative(got, want) < 0.1
    torch.testing.assert_close(got[3:4], alone, rtol=1e-4, atol=1e-5)
    loud = torch.cat([images[:1], 50 * images[1:2]])  # one scale for the whole batch would drown the first image
    with torch.inference_mode():
        torch.testing.assert_close(own(loud)[:1], own(images[:1]), rtol=1e-4, atol=1e-5)


def test_weights_become_int8_with_a_scale_for_each_output():
    model = tiny.network("plain")
    weight = rounded(model, dynamic=True).blocks[0].mlp.fc1.weight
    assert weight.qdata.dtype == torch.int8
    assert weight.scale.numel() == model.blocks[0].mlp.fc1.out_features


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "host", "technique"),
    [
        (DYNAMIC, "plain", Tome(r=2)), (DYNAMIC, "plain", HeadMlpMagnitude(ratio=0.4)), (DYNAMIC, "swin", None),
        (WEIGHTS, "plain", None),
    ],
    ids=str,
)  # fmt: skip
def test_compiled_it_errs_no_more_than_eager_torchao(key, host, technique):
    model, plan = carried_out(technique, host)
    before = copy.deepcopy(model.state_dict())
    artefact = built(key, model, plan)
    images = tiny.images(16)
    with torch.inference_mode():
        want, eager = model(images), rounded(model, dynamic=key == DYNAMIC)(images)
    got = artefact.open(1, 16)(images)
    # the last digit of a float decides what is rounded up, and every flip makes more of them in the next layer: of two
    # ways to compute in int8 only the errors can be compared, not the answers
    assert 0 < relative(got, want) < 1.5 * relative(eager, want)
    assert relative(got, eager) < (1.5 * relative(eager, want) if key == DYNAMIC else 1e-3)
    assert (got.argmax(1) == want.argmax(1)).float().mean() >= 0.8
    torch.testing.assert_close(artefact.open(1, 1)(images[5:6]), got[5:6], rtol=1e-3, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    linear = sum(isinstance(layer, torch.nn.Linear) for layer in model.modules())
    said = artefact.facts[0]
    assert said.startswith(
        f"{linear} products of {linear} linear" if key == DYNAMIC else f"int8 weights of {linear} linear"
    )
