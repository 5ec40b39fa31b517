"""Attention maps: the model's own probabilities, to the last digit, carried back to the patches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.efficientvit_mit import LiteMLA
from timm.models.mobilevit import MobileVitBlock
from timm.models.pvt_v2 import Attention as PooledAttention
from timm.models.swin_transformer import SwinTransformer, window_partition
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.overrides import _len_torch_function_stack

import vitedge_core.models.bundled.architectures  # noqa: F401  registers the bundled networks
from vitedge_core.explain import placement
from vitedge_core.explain.attention import all_maps, attention_map, one_patch, rollout, rollout_map
from vitedge_core.explain.fate import Fate
from vitedge_core.explain.observer import observe
from vitedge_core.models import own
from vitedge_core.models.build import build, input_size
from vitedge_core.models.zoo import cards
from vitedge_core.surgery.blocks import drop_blocks
from vitedge_core.surgery.heads import keep_heads
from vitedge_core.surgery.host import blocks as handles
from vitedge_core.surgery.open_attention import opened
from vitedge_core.techniques.base import Context
from vitedge_core.techniques.tokens.tome import Tome

SIZES: dict[str, Any] = {"embed_dim": 48, "num_heads": 3, "num_classes": 10}


def vit(**changes: Any) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(**{"img_size": 32, "patch_size": 8, "depth": 3, **SIZES, **changes}).eval()
    with torch.no_grad():  # timm's first weights give almost even attention
        for handle in handles(model):
            handle.attn.qkv.weight.mul_(8)  # type: ignore[operator]
    return model


def distilled() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=10
    ).eval()


def swin(**changes: Any) -> SwinTransformer:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 4)}
    return SwinTransformer(num_classes=10, **{**sizes, **changes}).eval()


def merging(r: int = 3, **changes: Any) -> nn.Module:
    return Tome(r=r).apply(vit(**changes), Context(torch.zeros(1)))


def zoo(name: str, sees: int | None = None, **changes: Any) -> nn.Module:
    """One of timm's networks, as small as it goes, and the side of the images it shall see."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **changes).eval()
    model.sees = sees  # type: ignore[assignment]
    return model


PYRAMID = {"embed_dims": (8, 16), "num_heads": (1, 2), "sr_ratios": (4, 2), "depths": (2, 1)}
MODELS = {
    "class token": vit,
    "average": lambda: vit(class_token=False, global_pool="avg"),
    "registers": lambda: vit(reg_tokens=4),
    "registers only": lambda: vit(reg_tokens=1, class_token=False, global_pool="avg", no_embed_class=True),
    "class token, average": lambda: vit(global_pool="avg"),
    "attention pooling": lambda: vit(class_token=False, global_pool="map"),
    "norms of q and k": lambda: vit(qk_norm=True),
    "layer scale": lambda: vit(init_values=0.1),
    "distilled": distilled,
    "swin": swin,
    "swin, padded": lambda: swin(img_size=28, window_size=4, strict_img_size=False),
    "swinv2": lambda: timm.create_model(
        "swinv2_tiny_window8_256", img_size=32, patch_size=2, window_size=4, embed_dim=12, depths=(2, 2),
        num_heads=(2, 4), num_classes=10,
    ).eval(),
    "rotary": lambda: zoo("eva02_tiny_patch14_224", img_size=56, depth=2),
    "beit": lambda: zoo("beit_base_patch16_224", img_size=64, embed_dim=48, depth=2, num_heads=3),
    "siglip": lambda: zoo("vit_base_patch16_siglip_224", img_size=64, embed_dim=48, depth=2, num_heads=3),
    "dinov2 with registers": lambda: zoo(
        "vit_small_patch14_reg4_dinov2", img_size=56, embed_dim=48, depth=2, num_heads=3
    ),
    "pvt": lambda: zoo("pvt_v2_b0", 64, **PYRAMID),
    "pvt, linear": lambda: zoo("pvt_v2_b2_li", 56, **PYRAMID),
    "twins": lambda: zoo("twins_svt_small", 64, embed_dims=(8, 16), num_heads=(1, 2), depths=(2, 2), mlp_ratios=(2, 2),
                         sr_ratios=(4, 2), wss=(4, 4), img_size=64),
    "talking heads": lambda: zoo("cait_xxs24_224", img_size=64, embed_dim=48, depth=2, num_heads=3),
    "levit": lambda: zoo("levit_128s", 224),
    "linear": lambda: zoo("efficientvit_b0", 128),
    "separable": lambda: zoo("mobilevitv2_050", 64),
    "unfolded": lambda: zoo("mobilevit_xxs", 64),
    "parallel": lambda: zoo("vit_pwee_patch16_reg1_gap_256", img_size=64, embed_dim=48, depth=2, num_heads=3),
    "merging": merging,
    "merging, average": lambda: merging(class_token=False, global_pool="avg"),
}  # fmt: skip


def image(model: nn.Module, seed: int = 0) -> Tensor:
    side = getattr(model, "sees", None) or model.patch_embed.img_size[0]  # type: ignore[union-attr, index]
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def referee(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Probabilities as timm's unfused path hands them to its dropout."""
    model, seen = copy.deepcopy(model), []
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
        if isinstance(getattr(module, "attn_drop", None), nn.Module):
            module.attn_drop.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        model(x)
    return seen


PADDED = {"swin, padded", "twins"}  # what goes to the padding of a window goes nowhere


@pytest.mark.parametrize("name", MODELS)
def test_rows_sum_to_one_everywhere(name):
    model = MODELS[name]()
    seen = observe(model, image(model))
    assert seen.note == ""
    assert len(seen.blocks) >= 2
    for block in seen.blocks:
        assert (block.weights >= 0).all()
        assert torch.allclose(block.weights.sum(-1), torch.ones(()), atol=1e-5)
        if name not in PADDED:
            rows = block.probabilities
            assert rows.shape == (block.heads, block.fate.tokens, block.fate.tokens)
            assert torch.allclose(rows.sum(-1), torch.ones(()), atol=1e-5)


REFEREED = sorted(set(MODELS) - {"merging", "merging, average", "talking heads", "levit", "linear", "separable"})


@pytest.mark.parametrize("name", REFEREED)
def test_recomputed_equals_timms_unfused_softmax(name):
    model = MODELS[name]()
    x = image(model)
    expected = referee(model, x)
    found = observe(model, x).blocks
    assert len(found) == len(expected)
    for block, right in zip(found, expected, strict=True):
        assert torch.allclose(block.weights, right.reshape(block.weights.shape), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_models_own(name):
    model = MODELS[name]()
    with torch.no_grad():
        expected = model(image(model))[0]
    assert torch.equal(observe(model, image(model)).logits, expected)


@pytest.mark.parametrize("name", MODELS)
def test_rollout_is_row_stochastic(name):
    model = MODELS[name]()
    seen = observe(model, image(model))
    flow = rollout(seen)
    assert (flow >= 0).all()
    assert flow.shape[0] == flow.shape[1] == seen.prefix + seen.grid[0] * seen.grid[1]
    assert torch.allclose(flow.sum(-1), torch.ones(()), atol=1e-5)
    assert seen.reader is not None
    assert torch.allclose(rollout_map(seen), seen.on_grid(seen.reader @ flow), atol=1e-6)


def test_rollout_is_the_product_of_abnar_and_zuidema():
    model = vit()
    seen = observe(model, image(model))
    expected = torch.eye(17)
    for weights in referee(model, image(model)):
        mixed = 0.5 * weights[0].mean(0) + 0.5 * torch.eye(17)
        expected = mixed / mixed.sum(-1, keepdim=True) @ expected
    assert torch.allclose(rollout(seen), expected, atol=1e-6)
    assert torch.allclose(rollout_map(seen), expected[0, 1:].view(4, 4), atol=1e-6)


def test_maps_are_the_class_tokens_row():
    model = vit(reg_tokens=4)
    seen = observe(model, image(model))
    right = referee(model, image(model))[1][0, :, 0, 5:].view(3, 4, 4)
    assert seen.reader_name == "class token"
    assert torch.allclose(attention_map(seen, 1, 2), right[2], atol=1e-6)
    assert torch.allclose(attention_map(seen, 1), right.mean(0), atol=1e-6)
    assert torch.allclose(attention_map(seen, 1, "max"), right.amax(0), atol=1e-6)
    assert torch.equal(all_maps(seen, 2)[1], attention_map(seen, 1, 2))


def test_without_a_class_token_the_mean_query_looks():
    model = vit(class_token=False, global_pool="avg")
    seen = observe(model, image(model))
    right = referee(model, image(model))[0][0, 1].mean(0).view(4, 4)
    assert seen.reader_name == "average patch"
    assert torch.allclose(attention_map(seen, 0, 1), right, atol=1e-6)


def test_swin_windows_are_stitched_where_they_were():
    """With shift, a token attends to tokens of its own rolled window only, and the map holds all the mass."""
    model = swin()
    seen = observe(model, image(model))
    plain, shifted = seen.blocks[0].probabilities.mean(0), seen.blocks[1].probabilities.mean(0)
    here = torch.arange(256).view(16, 16)
    assert set(plain[here[5, 6]].nonzero().flatten().tolist()) == set(here[4:8, 4:8].flatten().tolist())
    assert shifted[here[5, 6]][here[2:6, 6:10]].sum() > 0.999  # rolled by half a window: rows 2 to 5, columns 6 to 9
    for block in range(4):
        assert attention_map(seen, block).shape == (16, 16)
        assert float(attention_map(seen, block).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["swin", "swin, padded", "swinv2"])
def test_places_are_those_of_timms_own_windows(name):
    """The numbers of the tokens, rolled, padded and cut by timm, end up where the probabilities say they are."""
    model = MODELS[name]()
    blocks = [block for stage in model.layers for block in stage.blocks]
    for block, found in zip(blocks, observe(model, image(model)).blocks, strict=True):
        side = int(found.fate.tokens**0.5)
        numbers = torch.arange(side * side).view(1, side, side, 1).roll(tuple(-s for s in block.shift_size), (1, 2))
        (rows, columns) = block.window_size
        numbers = nn.functional.pad(numbers, (0, 0, 0, -side % columns, 0, -side % rows), value=-1)
        assert torch.equal(found.places, window_partition(numbers, block.window_size).flatten(1))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 12), st.integers(0, 99), st.booleans())
def test_mass_is_conserved_after_merging(r, seed, pooled):
    changes = {"class_token": False, "global_pool": "avg"} if pooled else {}
    model = merging(r, img_size=48, **changes)
    seen = observe(model, image(model, seed))
    assert seen.reader is not None
    for block in seen.blocks:
        on_tokens = block.look(block.fate.gather(seen.reader[None]))
        assert torch.allclose(block.fate.spread(on_tokens).sum(-1), torch.ones(()), atol=1e-5)
    assert torch.allclose(rollout(seen).sum(-1), torch.ones(()), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["class token", "distilled", "registers", "swin", "pvt", "merging"]), st.integers(0, 99))
def test_whoever_looks_spends_all_of_their_attention(name, seed):
    """Any mixture of tokens, in any block, has one unit to spend, and it arrives at patches or prefix tokens."""
    model = MODELS[name]()
    seen = observe(model, image(model, seed))
    tokens = seen.prefix + seen.grid[0] * seen.grid[1]
    rows = torch.rand(2, tokens, generator=torch.Generator().manual_seed(seed))
    rows = rows / rows.sum(-1, keepdim=True)
    for block in seen.blocks:
        arrived = block.fate.spread(block.look(block.fate.gather(rows)))
        assert (arrived >= 0).all()
        assert torch.allclose(arrived.sum(-1), torch.ones(()), atol=1e-5)
    assert torch.allclose(rollout(seen, rows).sum(-1), torch.ones(()), atol=1e-5)


def test_merged_patches_share_and_the_tokens_are_those_of_the_plan():
    model = merging(3)
    seen = observe(model, image(model))
    assert seen.final is not None
    assert [block.fate.tokens for block in seen.blocks] == [17, 14, 11]
    assert seen.final.tokens == 8
    last = seen.blocks[-1].fate
    together = max((last.companions(i) for i in range(17)), key=len)
    assert len(together) > 1
    shared = attention_map(seen, 2).flatten()[together - 1]
    assert torch.allclose(shared, shared[0].expand_as(shared))


def test_proportional_attention_is_seen():
    """A key that stands for s patches counts s times: the observer must see that, not plain attention."""
    model = merging(6)
    plain = copy.deepcopy(model)
    for block in plain.blocks:  # type: ignore[union-attr]
        block.proportional = False
    x = image(model)
    with_sizes, without = observe(model, x), observe(plain, x)
    assert torch.equal(with_sizes.blocks[0].weights, without.blocks[0].weights)
    sizes = with_sizes.blocks[1].fate.sizes.float()
    expected = without.blocks[1].weights * sizes
    assert torch.allclose(with_sizes.blocks[1].weights, expected / expected.sum(-1, keepdim=True), atol=1e-5)


def test_written_out_products_look_like_fused_ones():
    model = vit(qk_norm=True)
    x = image(model)
    before = observe(model, x)
    for block in model.blocks:
        block.attn = opened(block.attn)
        block.attn.open_products()  # type: ignore[union-attr, operator]
    for left, right in zip(before.blocks, observe(model, x).blocks, strict=True):
        assert torch.allclose(left.weights, right.weights, atol=1e-6)


def test_pruned_heads_and_blocks_are_gone_from_the_maps():
    model = vit()
    x = image(model)
    before = observe(model, x)
    keep_heads(handles(model)[0].attn, (0, 2))
    drop_blocks(model, {1})
    after = observe(model, x)
    assert [block.heads for block in after.blocks] == [2, 3]
    assert torch.allclose(after.blocks[0].weights, before.blocks[0].weights[:, [0, 2]], atol=1e-6)


def test_pooled_keys_go_back_to_the_patches_they_were_made_of():
    """PVT's keys stand for squares of 4x4 patches: their mass comes back evenly, and none is lost."""
    model = MODELS["pvt"]()
    first = observe(model, image(model)).blocks[0]
    assert first.weights.shape == (1, 1, 256, 16)
    assert first.keys is not None
    assert torch.allclose(first.keys.sum(-1), torch.ones(16))
    key = torch.arange(256).view(16, 16)[::4, ::4].flatten()  # a patch of each square
    rows = first.probabilities[0]
    assert torch.allclose(rows[:, key] * 16, first.weights[0, 0], atol=1e-6)
    assert torch.allclose(rows[:, key], rows[:, key + 16 + 1], atol=1e-7)


@pytest.mark.parametrize("shape", [(1, 3, 17, 9), (1, 3, 9, 17), (2, 3, 17, 17)])
def test_attention_of_another_shape_is_no_map(shape):
    model = vit()
    block = model.blocks[0]
    look = placement.Look("blocks.0", block, block.attn, torch.zeros(1, 17, 48), torch.ones(shape))
    with pytest.raises(placement.UnmappableError, match="no map"):
        placement.plain(look, Fate.untouched(17))


@pytest.mark.parametrize(("side", "linear"), [((10, 7), False), ((10, 7), True), ((14, 14), True)])
def test_pooled_keys_hold_shares_on_any_grid(side, linear):
    attn = PooledAttention(8, num_heads=1, sr_ratio=4, linear_attn=linear)
    keys = placement._pooled_keys(attn, side)
    tokens = torch.randn(side[0] * side[1], 3, generator=torch.Generator().manual_seed(0))
    grid = tokens.T.view(1, 3, *side)
    right = attn.pool(grid) if linear else nn.functional.avg_pool2d(grid, 4)  # type: ignore[misc]
    assert torch.allclose(keys @ tokens, right.flatten(2)[0].T, atol=1e-6)
    assert torch.allclose(keys.sum(-1), torch.ones(len(keys)))


def test_groups_of_pixels_are_those_that_mobilevit_unfolds():
    """The numbers of the pixels, unfolded by timm, end up where the probabilities say they are."""
    model = MODELS["unfolded"]()
    found = observe(model, image(model)).blocks[0]
    block: Any = next(m for m in model.modules() if isinstance(m, MobileVitBlock))
    block.conv_kxk, block.conv_1x1, block.conv_fusion = nn.Identity(), nn.Identity(), None
    given: list[Tensor] = []
    block.transformer.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    with torch.no_grad():
        block(torch.arange(64.0).view(1, 1, 8, 8).expand(1, *block.norm.normalized_shape, 8, 8))
    assert torch.equal(found.places, given[0][..., 0].long())


def test_linear_attention_times_values_is_what_the_module_makes():
    model = MODELS["linear"]()
    weights = observe(model, image(model)).blocks[0].weights[0]
    module = next(m for m in model.modules() if isinstance(m, LiteMLA))
    given: list[Tensor] = []
    module.proj.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    module.qkv.register_forward_hook(lambda _, arguments, result: given.append(result))
    with torch.no_grad():
        model(image(model))
        qkv, mixed = given
        values = torch.cat([qkv, *(op(qkv) for op in module.aggreg)], 1)
    values = values.reshape(len(weights), 3, module.dim, -1)[:, 2].mT  # [H, N, d]
    assert torch.allclose((weights @ values).mT.reshape(mixed.shape), mixed, atol=1e-3)


def test_an_attention_pool_is_who_looks():
    model = vit(class_token=False, global_pool="map")
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    seen = observe(vit(class_token=False, global_pool="map"), image(model))
    right: list[Tensor] = []
    with torch.no_grad():
        x = model.forward_features(image(model))
        pool = model.attn_pool
        k = pool.kv(x).reshape(1, 16, 2, pool.num_heads, pool.head_dim).permute(2, 0, 3, 1, 4)[0]  # type: ignore[union-attr]
        q = pool.q(pool.latent).reshape(1, 1, pool.num_heads, pool.head_dim).transpose(1, 2)  # type: ignore[union-attr]
        right.append((q * pool.scale @ k.mT).softmax(-1)[0, :, 0].mean(0))  # type: ignore[union-attr]
    assert seen.reader_name == "attention pooling"
    assert seen.reader is not None
    assert torch.allclose(seen.reader, right[0], atol=1e-6)


def test_class_attention_reads_as_in_rollout():
    model = MODELS["talking heads"]()
    seen, shares = observe(model, image(model)), []
    for block in model.blocks_token_only:  # type: ignore[union-attr]
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _, given: shares.append(given[0][0, :, 0].mean(0)))
    with torch.no_grad():
        model(image(model))
    assert seen.reader_name == "class attention"
    row = torch.zeros(17)
    row[0] = 1
    for weights in reversed(shares):
        step = torch.eye(17)
        step[0] = 0.5 * step[0] + 0.5 * weights
        row = row @ step
    assert seen.reader is not None
    assert torch.allclose(seen.reader, row[1:] / row[1:].sum(), atol=1e-6)


def test_one_patch_looks():
    model = vit(reg_tokens=4)
    seen = observe(model, image(model))
    rows = one_patch(seen, 6)
    assert torch.allclose(attention_map(seen, 1, 2, rows), seen.blocks[1].probabilities[2, 5 + 6, 5:].view(4, 4))
    assert torch.allclose(rollout_map(seen, rows), rollout(seen)[5 + 6, 5:].view(4, 4), atol=1e-6)


def hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def test_nothing_stays_behind_after_an_error():
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("broken on purpose")

    model = vit()
    model.blocks[2].mlp = Broken()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for bad in (image(model), torch.zeros(1, 3, 9, 9)):
        with pytest.raises((RuntimeError, AssertionError)):
            observe(model, bad)
        assert hooks(model) == 0
        assert _len_torch_function_stack() == 0
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_model_is_never_hooked_nor_switched():
    model, counted = vit().train(), []
    model.blocks[0].register_forward_hook(lambda *_: counted.append(hooks(model)))
    observe(model, image(model))
    assert counted == [1]  # the one of this test
    assert model.training


@pytest.mark.parametrize("name", ["resnet18", "xcit_nano_12_p16_224", "convit_tiny", "coatnet_0_rw_224"])
def test_models_without_a_map_say_so(name):
    model = timm.create_model(name, num_classes=10).eval()
    seen = observe(model, torch.zeros(1, 3, 224, 224))
    assert seen.blocks == ()
    assert seen.note.endswith(".")
    assert seen.logits.shape == (10,)


@pytest.mark.slow
@pytest.mark.parametrize("name", [card.name for card in cards() if card.params < 60e6 and not own.is_own(card.name)])
def test_every_model_of_the_zoo_has_a_map_or_a_sentence(name):
    torch.manual_seed(0)
    model = build(name).eval()
    side = input_size(model)
    seen = observe(model, torch.randn(1, *side))
    assert bool(seen.blocks) != bool(seen.note)
    if seen.note:
        assert seen.note.startswith(("This model", "The tokens of this model"))
        return
    for block in seen.blocks:
        sums = block.weights.sum(-1)
        assert ((sums - 1).abs().lt(1e-4) | sums.abs().lt(1e-6)).all()  # a query of linear attention may be empty
    assert seen.reader is not None
    row = rollout(seen, seen.reader[None])
    assert float(row.sum()) == pytest.approx(1, abs=1e-4)
    assert rollout_map(seen).shape == seen.grid
