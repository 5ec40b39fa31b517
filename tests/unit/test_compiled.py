"""The compiled engines: same answers, any batch, the original untouched, and what they refuse."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from carried import built, carried_out, relative
from torch import nn

from vitedge_core.backends import ENGINES, engine
from vitedge_core.backends.compiled import InPrecision
from vitedge_core.convert.plain import in_floats
from vitedge_core.surgery.replace import quantised_layers
from vitedge_core.techniques.pruning.head_mlp_magnitude import HeadMlpMagnitude
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq
from vitedge_core.techniques.tokens.tome import Tome

WEIGHTS_ONLY = UniformPtq(w_bits=4, a_bits=32)


def test_they_are_registered_with_their_keys():
    keys = [one.key for one in ENGINES]
    assert {"compiled", "compiled-bf16", "torchao-dynamic-int8", "torchao-weight-only-int8"} < set(keys)
    assert len(keys) == len(set(keys))


def test_rounded_activations_are_refused_and_rounded_weights_are_not():
    plan = tiny.plan_of(tiny.network("plain"))
    for key in ("compiled", "compiled-bf16"):
        assert engine(key).supports(plan) is None
        assert engine(key).supports(WEIGHTS_ONLY.plan(plan)) is None
        assert "rounds them to 8 bits" in str(engine(key).supports(UniformPtq(w_bits=8, a_bits=8).plan(plan)))


def test_only_bfloat16_is_a_step_of_its_own():
    plan = tiny.plan_of(tiny.network("plain"))
    assert engine("compiled").own_step(plan) is None
    assert "bfloat16" in str(engine("compiled-bf16").own_step(plan))


def test_without_a_compiler_they_are_missing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    for key in ("compiled", "compiled-bf16", "torchao-dynamic-int8", "torchao-weight-only-int8"):
        assert "needs a C++ compiler" in str(engine(key).missing())


def test_weights_on_a_grid_are_rounded_before_anything_else():
    model, _ = carried_out(WEIGHTS_ONLY)
    before = copy.deepcopy(model.state_dict())
    plain = in_floats(model)
    assert all(isinstance(layer.weight_grid, nn.Identity) for _, layer in quantised_layers(plain))
    images = tiny.images(3)
    with torch.inference_mode():
        assert torch.equal(plain(images), model(images))
    # the grid's own arithmetic in bfloat16 would move weights to neighbouring values
    narrow = InPrecision(in_floats(model), torch.bfloat16)
    assert all(p.dtype == torch.bfloat16 for p in narrow.parameters())
    for path, layer in quantised_layers(model):
        want = layer.weight_grid(layer.weight).bfloat16()
        assert torch.equal(narrow.model.get_submodule(path).weight, want), path
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_bfloat16_takes_and_gives_float32():
    model = tiny.network("plain")
    narrow = InPrecision(copy.deepcopy(model), torch.bfloat16)
    images = tiny.images(3)
    with torch.inference_mode():
        got, want = narrow(images), model(images)
    assert got.dtype == torch.float32
    assert 0 < relative(got, want) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "technique"),
    [
        ("plain", Tome(r=2)), ("plain", HeadMlpMagnitude(ratio=0.4)), ("plain", WEIGHTS_ONLY), ("swin", None),
        ("convnet", None), ("registers", Tome(r=2)),
    ],
    ids=str,
)  # fmt: skip
def test_compiled_agrees_with_eager_for_every_batch(host, technique):
    model, plan = carried_out(technique, host)
    before = copy.deepcopy(model.state_dict())
    artefact = built("compiled", model, plan)
    for batch in (1, 3):
        images = tiny.images(batch, seed=batch)
        with torch.inference_mode():
            want = model(images)
        assert relative(artefact.open(1, batch)(images), want) < 1e-3
    assert artefact.facts[0].startswith("float32 throughout; ")
    assert "without" in artefact.facts[0]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_bfloat16_errs_by_its_own_rounding_only():
    model = tiny.network("plain")
    artefact = built("compiled-bf16", model, tiny.plan_of(model))
    images = tiny.images(4)
    with torch.inference_mode():
        want, narrow = model(images), InPrecision(copy.deepcopy(model), torch.bfloat16)(images)
    got = artefact.open(1, 4)(images)
    assert 0 < relative(got, want) < 2 * relative(narrow, want) + 0.01
    assert next(model.parameters()).dtype == torch.float32
