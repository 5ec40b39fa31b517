"""The form for engines says the same as the model it was made of, and leaves that one alone."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch

from vitedge_core.export.engine_form import LastBlock, PatchProduct, for_engines
from vitedge_core.surgery.tokens import merging_blocks, start_merging


@pytest.mark.parametrize("host", ["plain", "distilled", "registers"])
@pytest.mark.parametrize("asked", [(3, 2, 4), (8, 0, 0), (0, 64, 64)], ids=str)
def test_the_same_answers(host, asked):
    model = tiny.network(host)
    start_merging(model, asked, proportional=True)
    other = for_engines(model)
    assert isinstance(other.patch_embed.proj, PatchProduct)
    assert all(block.by_product for block in merging_blocks(other) if not isinstance(block, LastBlock))
    with torch.no_grad():
        torch.testing.assert_close(other(tiny.images(3)), model(tiny.images(3)), atol=1e-5, rtol=1e-4)


def test_the_model_itself_is_left_alone():
    model = tiny.network("plain")
    start_merging(model, (3, 3, 3), proportional=True)
    before = copy.deepcopy(model.state_dict())
    for_engines(model)
    assert type(model.patch_embed.proj) is torch.nn.Conv2d
    assert not any(block.by_product for block in merging_blocks(model))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("host", "read"), [("plain", 1), ("distilled", 2), ("registers", 18)])
def test_the_last_block_computes_what_is_read(host, read):
    """Of a network that takes the mean of its patches every token is read."""
    model = tiny.network(host)
    other = for_engines(model)
    with torch.no_grad():
        torch.testing.assert_close(other(tiny.images(3)), model(tiny.images(3)), atol=1e-5, rtol=1e-4)
        assert other.forward_features(tiny.images(2)).shape[1] == read


def test_windows_that_overlap_stay_a_convolution():
    model = tiny.network("plain")
    old = model.patch_embed.proj
    model.patch_embed.proj = torch.nn.Conv2d(3, old.out_channels, 8, stride=4)
    assert type(for_engines(model).patch_embed.proj) is torch.nn.Conv2d
    assert for_engines(tiny.network("convnet")) is not None
