"""Token merging as a technique: what it promises of counts, what it refuses, and what it composes with."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from referee import carried_out, claimed, counted
from timm.models.vision_transformer import ResPostBlock, VisionTransformer

from vitedge_core.models.trace import trace
from vitedge_core.surgery.tokens import merging_blocks
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq
from vitedge_core.techniques.tokens.tome import CONSTANT, DECREASING, ONE, Tome, per_block

HOSTS = ["plain", "distilled", "registers"]


def merged(host: str, **knobs: object) -> tuple[torch.nn.Module, tuple[int, ...]]:
    model = tiny.network(host)
    after, plan = carried_out(Tome(**knobs), model, tiny.plan_of(model), tiny.context())
    return after, tuple(block.mlp_tokens for block in plan.blocks)


@pytest.mark.parametrize("host", HOSTS)
def test_merging_nothing_changes_not_a_bit(host):
    model = tiny.network(host)
    with torch.no_grad():
        same = Tome(r=0).apply(copy.deepcopy(model), tiny.context())(tiny.images(3))
        assert torch.equal(same, model(tiny.images(3)))
    plan = tiny.plan_of(model)
    assert Tome(r=0).plan(plan) == plan


def test_blocks_that_merge_nothing_yet_compute_as_before():
    """The open blocks themselves, with nothing to merge: the same numbers, not only nearly."""
    from vitedge_core.surgery.tokens import start_merging

    model = tiny.network("registers")
    open_model = copy.deepcopy(model)
    start_merging(open_model, [0, 0, 0], proportional=True)
    with torch.no_grad():
        assert torch.equal(open_model(tiny.images(2)), model(tiny.images(2)))


@pytest.mark.parametrize("host", HOSTS)
def test_tokens_fall_by_r_until_half_is_the_most(host):
    prefix = {"plain": 1, "distilled": 2, "registers": 2}[host]
    _, left = merged(host, r=3)
    assert left == tuple(16 + prefix - 3 * (block + 1) for block in range(3))
    _, left = merged(host, r=64)
    assert left == (8 + prefix, 4 + prefix, 2 + prefix)


@pytest.mark.parametrize(
    "special",
    [
        {"global_pool": "map", "class_token": False}, {"global_pool": "avg"}, {"global_pool": "prr"},
        {"block_fn": ResPostBlock}, {"reg_tokens": 3}, {"patch_size": 4},
    ],
    ids=str,
)  # fmt: skip
def test_counts_hold_for_rarer_networks(special):
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 10}
    model = VisionTransformer(**{**sizes, **special}).eval().requires_grad_(False)
    for knobs in ({"r": 3}, {"r": 64}, {"r": 2, "schedule": DECREASING}, {"r": 64, "schedule": ONE, "block": 1}):
        after, plan = carried_out(Tome(**knobs), model, tiny.plan_of(model), tiny.context())
        assert claimed(plan) == counted(after, plan)


def test_published_counts_of_deit_small():
    """197 tokens become 41 with r = 13; the paper counts 2.7 GMAC, without the matching, which is 0.6 % here."""
    plan = Tome(r=13).plan(trace("deit_small_patch16_224"))
    assert plan.blocks[-1].mlp_tokens == 41
    assert plan.macs == pytest.approx(2.70e9, rel=0.01)


def test_schedules():
    assert per_block(4, 3, CONSTANT) == (4, 4, 4)
    assert per_block(4, 3, DECREASING) == (8, 4, 0)
    assert per_block(5, 1, DECREASING) == (5,)
    assert per_block(4, 3, ONE, 1) == (0, 4, 0)
    for r in range(20):
        for blocks in range(2, 25):
            asked = per_block(r, blocks, DECREASING)
            assert list(asked) == sorted(asked, reverse=True)
            assert r * blocks - blocks <= sum(asked) <= r * blocks


def test_proportional_attention_makes_a_difference():
    with torch.no_grad():
        on, off = (merged("plain", r=4, proportional=p)[0](tiny.images(2)) for p in (True, False))
    assert not torch.allclose(on, off)


def test_paths_stay():
    model = tiny.network("distilled")
    after, _ = merged("distilled", r=3)
    assert set(after.state_dict()) == set(model.state_dict())
    assert type(after) is type(model)


def test_an_image_merges_by_itself():
    """What else is in the batch has no say."""
    after, _ = merged("plain", r=4)
    images = tiny.images(5)
    with torch.no_grad():
        torch.testing.assert_close(after(images)[2:3], after(images[2:3]), atol=1e-5, rtol=1e-4)


def test_it_can_be_trained():
    after, _ = merged("registers", r=3)
    after(tiny.images(2)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in after.parameters())


@pytest.mark.parametrize("swapped", [False, True])
def test_with_quantisation_in_either_order(swapped):
    steps = [Tome(r=3), UniformPtq(w_bits=8, a_bits=8)]
    model = tiny.network("plain")
    plan, exact = tiny.plan_of(model), merged("plain", r=3)[0]
    for step in reversed(steps) if swapped else steps:
        assert step.supports(plan) is None
        model, plan = carried_out(step, model, plan, tiny.context())
    assert claimed(plan) == counted(model, plan)
    assert merging_blocks(model) is not None
    with torch.no_grad():
        error = (model(tiny.images(4)) - exact(tiny.images(4))).norm() / exact(tiny.images(4)).norm()
    assert error < 0.3


def test_what_it_refuses():
    plain, swin, convnet = (tiny.plan_of(tiny.network(host)) for host in ("plain", "swin", "convnet"))
    assert "windows" in str(Tome().supports(swin))
    assert "plain ViT" in str(Tome().supports(convnet))
    assert "already" in str(Tome().supports(Tome().plan(plain)))
    assert "blocks 0 to 2" in str(Tome(schedule=ONE, block=3).supports(plain))
    assert Tome(block=3).supports(plain) is None  # the other schedules do not look at it
