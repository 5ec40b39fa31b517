"""The form for engines says the same as the model it was made of, and leaves that one alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch

from vitedge_core.convert.engine_form import for_engines
from vitedge_core.surgery.tokens import start_merging
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq


def members(model: Any) -> list[Any]:
    return list(model.blocks)


@pytest.mark.parametrize("host", ["plain", "distilled", "registers"])
@pytest.mark.parametrize("asked", [(3, 2, 4), (8, 0, 0), (0, 64, 64)], ids=str)
def test_the_same_answers(host, asked):
    model = tiny.network(host)
    start_merging(model, asked, proportional=True)
    other = for_engines(model)
    assert [block.by_product for block in members(other)[:-1]] == [True, True]
    with torch.no_grad():
        torch.testing.assert_close(other(tiny.images(3)), model(tiny.images(3)), atol=1e-5, rtol=1e-4)


def test_the_model_itself_is_left_alone():
    model = tiny.network("plain")
    start_merging(model, (3, 3, 3), proportional=True)
    before = copy.deepcopy(model.state_dict())
    for_engines(model)
    assert not any(block.by_product for block in members(model))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("host", "read"), [("plain", 1), ("distilled", 2), ("registers", 18)])
def test_the_last_block_computes_what_is_read(host, read):
    """Of a network that takes the mean of its patches every token is read."""
    model = tiny.network(host)
    other: Any = for_engines(model)
    with torch.no_grad():
        torch.testing.assert_close(other(tiny.images(3)), model(tiny.images(3)), atol=1e-5, rtol=1e-4)
        assert other.forward_features(tiny.images(2)).shape[1] == read


def test_norms_are_folded_into_the_layers_behind_them():
    """Also where gain and shift are far from one and zero; a layer on a grid keeps its norm as it is."""
    model = tiny.network("plain")
    for name, values in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(values, mean=0.5)
    other = for_engines(model)
    assert [name for name, _ in other.named_parameters() if ".norm" in name] == []
    with torch.no_grad():
        torch.testing.assert_close(other(tiny.images(3)), model(tiny.images(3)), atol=1e-5, rtol=1e-4)
    rounded = UniformPtq(attention=False).apply(model, tiny.context())
    with torch.no_grad():
        assert torch.equal(for_engines(rounded)(tiny.images(3)), rounded(tiny.images(3)))


@pytest.mark.parametrize("host", ["swin", "convnet"])
def test_other_networks_stay_what_they_are(host):
    model = tiny.network(host)
    with torch.no_grad():
        assert torch.equal(for_engines(model)(tiny.images(2)), model(tiny.images(2)))
