"""Plans against referees that share nothing with the trace: torch's counter, fvcore, timm's own modules."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from referee import fvcore_counts, products, torch_macs
from tiny import HOSTS, SIDE, network, plan_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import vitedge_core
from vitedge_core.cost.report import cost
from vitedge_core.errors import VitEdgeError
from vitedge_core.models.trace import trace, trace_model
from vitedge_core.plan import Half, Kind, Plan
from vitedge_core.text.sources import COUNTERS

ZOO = Path(vitedge_core.__file__).parent / "published" / "zoo.csv"
FAST = [
    "digits_vit_base",
    "digits_swin",
    "digits_convnet",
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",  # LayerScale
    "vit_small_patch14_reg4_dinov2",  # registers, no classifier
    "vit_pwee_patch16_reg1_gap_256",  # parallel blocks, mean of the tokens
    "vit_tiny_r_s16_p8_224",  # standardised convolutions before the transformer
    "swin_tiny_patch4_window7_224",
    "pvt_v2_b0",
    "levit_128s",
    "mobilevit_xxs",
    "efficientvit_b0",
    "convnext_atto",
]


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name).eval().requires_grad_(False)  # torch's counter stumbles over gradients


def referee(model: nn.Module, image: tuple[int, int, int], batch: int = 1) -> tuple[int, int]:
    """Parameters as timm counts them, and multiply-accumulates as torch does."""
    images = torch.empty(batch, *image, device=next(model.parameters()).device)
    return sum(parameter.numel() for parameter in model.parameters()), torch_macs(model, images)


@pytest.mark.parametrize("name", FAST)
def test_counts_equal_the_referees(name):
    plan = trace(name)
    assert (plan.params, plan.macs) == referee(on_meta(name), plan.image)


@pytest.mark.slow
@pytest.mark.parametrize("name", [row["name"] for row in csv.DictReader(ZOO.open(encoding="utf-8"))])
def test_the_whole_zoo_equals_the_referees_and_its_own_table(name):
    plan = trace.__wrapped__(name)
    assert (plan.params, plan.macs) == referee(on_meta(name), plan.image)
    assert cost(plan, 3).macs.value == referee(on_meta(name), plan.image, 3)[1]
    row = next(row for row in csv.DictReader(ZOO.open(encoding="utf-8")) if row["name"] == name)
    stated = tuple(int(row[column]) for column in ("params", "macs", "image", "classes"))
    assert stated == (plan.params, plan.macs, plan.image[1], plan.classes)


@pytest.mark.parametrize(
    ("name", "image"),
    [("deit_tiny_patch16_224", 96), ("swin_tiny_patch4_window7_224", 100), ("pvt_v2_b0", 65), ("mobilevit_xxs", 320)],
)
def test_other_resolutions(name, image):
    plan = trace(name, image)
    with torch.device("meta"):
        sized = {} if name in {"pvt_v2_b0", "mobilevit_xxs"} else {"img_size": image}
        model = timm.create_model(name, **sized).eval().requires_grad_(False)
    assert plan.image == (3, image, image)
    assert (plan.params, plan.macs) == referee(model, plan.image)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_both_referees_agree_on_batches_of_real_models(host, batch):
    model, images = network(host), torch.randn(batch, 3, SIDE, SIDE)
    claimed = cost(plan_of(model), batch).macs.value
    assert claimed == torch_macs(model, images) == products(fvcore_counts(model, images))


def test_where_the_referees_differ_on_deit_tiny_is_what_the_sources_say():
    """Each figure of the table of counters, measured anew."""
    model, images = timm.create_model("deit_tiny_patch16_224").eval().requires_grad_(False), torch.randn(1, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as fused:
        model(images)
    taught, plain = fvcore_counts(model, images), fvcore_counts(model, images, taught=False)
    found = {
        "ours": trace("deit_tiny_patch16_224").macs,
        "torch": torch_macs(model, images),
        "torch, fused on a CPU": fused.get_total_flops() // 2,
        "fvcore": sum(plain.values()),
        "fvcore, taught": sum(taught.values()),
        "fvcore, taught, products": products(taught),
    }
    if found["torch, fused on a CPU"] == found["torch"]:  # PyTorch 2.15 has learned it
        found["torch, fused on a CPU"] = COUNTERS["torch, fused on a CPU"]
    assert found == COUNTERS
    assert taught["layer_norm"] == sum(taught.values()) - found["ours"] == 4_728_000


def formula(plan: Plan, patch: int) -> int:
    """Multiply-accumulates of a plain ViT from its shapes alone."""
    block = plan.blocks[0]
    n, d, m, side = block.tokens, block.width, block.hidden, plan.image[1] // patch
    each = 3 * n * d * d + 2 * n * n * d + n * d * d + 2 * n * d * m
    return side * side * 3 * patch * patch * d + len(plan.blocks) * each + d * plan.classes


def test_a_plain_vit_follows_the_formula():
    for name, patch in (("deit_tiny_patch16_224", 16), ("vit_base_patch16_224", 16), ("digits_vit_base", 6)):
        plan = trace(name)
        assert plan.macs == formula(plan, patch)


def test_blocks_of_a_plain_vit():
    plan = trace("deit_tiny_distilled_patch16_224")
    assert [block.path for block in plan.blocks] == [f"blocks.{i}" for i in range(12)]
    block = plan.blocks[5]
    assert (block.tokens, block.mlp_tokens, block.width, block.heads, block.head_width, block.hidden, block.prefix) == (
        198, 198, 192, 3, 64, 768, 2,
    )  # fmt: skip
    assert (block.attention, block.groups, block.stage) == ("global", 1, 0)


def test_blocks_of_a_swin():
    blocks = trace("swin_tiny_patch4_window7_224").blocks
    assert [block.stage for block in blocks] == [0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3]
    assert [(b.attention, b.tokens, b.groups, b.heads) for b in blocks[:3]] == [
        ("window", 3136, 64, 3), ("window", 3136, 64, 3), ("window", 784, 16, 6),
    ]  # fmt: skip


def test_operations_are_called_by_the_modules_they_come_from():
    plan, model = trace("digits_vit_base"), on_meta("digits_vit_base")
    by_path = {op.path: op for op in plan.ops}
    modules = dict(model.named_modules())
    for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        op, layer = by_path[f"blocks.2.{name}"], modules[f"blocks.2.{name}"]
        assert (op.weights, op.others) == (layer.weight.numel(), layer.bias.numel())
        assert (op.rows, op.inputs, op.outputs) == (65, layer.in_features, layer.out_features)
    scores, mix = by_path["blocks.2.attn.scores"], by_path["blocks.2.attn.mix"]
    assert (scores.rows, scores.inputs, scores.outputs) == (4 * 65, 32, 65)
    assert (mix.rows, mix.inputs, mix.outputs) == (4 * 65, 65, 32)
    assert (by_path["pos_embed"].kind, by_path["pos_embed"].params) == (Kind.EMBEDDING, 65 * 128)


def test_norms_and_convolutions_hold_what_is_theirs():
    plan = trace("digits_convnet")
    first = next(op for op in plan.ops if op.path == "stages.0.0.conv1_kxk.conv")
    assert (first.rows, first.inputs, first.outputs, first.weights) == (24 * 24, 9 * 32, 32, 9 * 32 * 32)
    norm = next(op for op in plan.ops if op.path == "stages.0.0.conv1_kxk.bn")
    assert (norm.kind, norm.others, norm.buffers) == (Kind.NORM, 2 * 32, 2 * 32 * 4 + 8)
    assert not any(op.kind is Kind.EMBEDDING for op in plan.ops)
    bare = {op.path for op in trace("vit_small_patch14_reg4_dinov2").ops if op.kind is Kind.EMBEDDING}
    assert bare == {"cls_token", "pos_embed", "reg_token"}


def test_kinds_and_halves():
    plan = trace("swin_tiny_patch4_window7_224")
    told = {op.path.removeprefix("layers.2.blocks.3."): (op.kind, op.half) for op in plan.ops if op.block == 7}
    assert told["norm1"] == (Kind.NORM, Half.ATTENTION)
    assert told["attn.qkv"] == (Kind.QKV, Half.ATTENTION)
    assert told["attn.scores"] == told["attn.mix"] == (Kind.ATTENTION, Half.ATTENTION)
    assert told["attn.proj"] == (Kind.PROJECTION, Half.ATTENTION)
    assert told["norm2"] == (Kind.NORM, Half.MLP)
    assert told["mlp.fc2"] == (Kind.MLP, Half.MLP)
    kinds = {op.path: op.kind for op in plan.ops}
    assert kinds["patch_embed.proj"] is Kind.PATCH_EMBED
    assert kinds["layers.1.downsample.reduction"] is Kind.LINEAR
    assert kinds["head.fc"] is Kind.HEAD


def test_a_table_of_biases_belongs_to_the_scores():
    plan = trace("swin_tiny_patch4_window7_224")
    scores = next(op for op in plan.ops if op.path == "layers.0.blocks.0.attn.scores")
    assert (scores.rows, scores.inputs, scores.outputs) == (64 * 3 * 49, 32, 49)
    assert scores.others == 13 * 13 * 3


@pytest.mark.parametrize("host", HOSTS)
def test_the_model_is_only_looked_at(host):
    model = network(host)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = plan_of(model)
    assert (plan.params, plan.macs) == referee(model, (3, SIDE, SIDE))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(tensor.device.type == "cpu" for tensor in model.state_dict().values())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert plan_of(model) == plan


@pytest.mark.parametrize("host", ["plain", "swin", "registers"])
def test_fused_attention_counts_like_its_parts(host):
    model = network(host)
    fused = plan_of(model)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = not module.fused_attn
    split = plan_of(model)
    assert (fused.macs, fused.params, fused.blocks) == (split.macs, split.params, split.blocks)
    products = [{op.path: op.macs for op in plan.ops if op.macs} for plan in (fused, split)]
    assert products[0] == products[1]


class Odd(nn.Module):
    """Every way to multiply, and every way to hold a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 5
        self.scale = nn.Parameter(torch.ones(8))
        self.tied = nn.Linear(8, 8)
        self.again = self.tied
        self.unused = nn.Linear(3, 7)
        self.matrix = nn.Parameter(torch.ones(8, 4))
        self.up = nn.ConvTranspose2d(3, 8, 2, stride=2, groups=1)
        self.deep = nn.Conv2d(8, 8, 3, groups=4, dilation=2)
        self.register_buffer("table", torch.ones(6))

    def forward(self, images):
        maps = self.deep(self.up(images))
        x = maps.flatten(2).transpose(1, 2) * self.scale  # [B, N, 8]
        x = self.again(self.tied(x))
        similar = torch.einsum("bnd,bmd->bnm", x, x).softmax(-1) @ x
        y = torch.matmul(similar, self.matrix)
        z = torch.baddbmm(y, F.linear(x, self.tied.weight), self.matrix.expand(len(x), 8, 4))
        return torch.bmm(z.transpose(1, 2), x).sum(-1)


def test_every_way_to_multiply_is_seen():
    model = Odd().eval().requires_grad_(False)
    plan = trace_model(model, "odd", (3, 6, 6))
    assert (plan.params, plan.macs) == referee(model, (3, 6, 6))
    assert plan.params == 8 + 72 + 28 + 32 + (96 + 8) + (8 * 2 * 9 + 8)
    assert {op.path: op.others for op in plan.ops}["unused.weight"] == 21
    assert sum(op.buffers for op in plan.ops) == 24
    assert plan.blocks == ()


class Tables(nn.Module):
    """Multiplies once for all images, and once for each image although no image has a part in it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 4
        self.register_buffer("table", torch.ones(5, 6))
        self.once, self.each, self.last = nn.Linear(6, 2), nn.Linear(6, 2), nn.Linear(3, 4)

    def forward(self, images):
        spread = self.table.expand(len(images), 5, 6)
        return self.last(images.mean((-1, -2))) + self.once(self.table).sum() + self.each(spread).sum((1, 2))[:, None]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_what_no_image_has_a_part_in_is_counted_as_often_as_it_is_done(batch):
    model = Tables().eval().requires_grad_(False)
    plan = trace_model(model, "tables", (3, 6, 6))
    assert {op.path: op.shared for op in plan.ops if op.macs} == {"once": True, "each": False, "last": False}
    assert cost(plan, batch).macs.value == torch_macs(model, torch.empty(batch, 3, 6, 6)) == 60 + batch * (60 + 12)


@pytest.mark.parametrize(
    ("name", "image", "sentence"),
    [
        ("deit_tyny", None, "did you mean 'deit_tiny_patch16_224'"),
        ("hf-hub:somebody/something", None, "There is no model"),
        ("local-dir:/etc", None, "There is no model"),
        ("mine/../../etc", None, "There is no model"),
        ("x" * 5000, None, "There is no model"),
        ("deit_tiny_patch16_224.unheard_of", None, "Invalid pretrained tag"),
        ("deit_tiny_patch16_224", 0, "must be 1 to 4096 pixels, not 0"),
        ("deit_tiny_patch16_224", -7, "must be 1 to 4096 pixels, not -7"),
        ("deit_tiny_patch16_224", 100_000, "must be 1 to 4096 pixels"),
        ("deit_tiny_patch16_224", 5, "cannot take images of 5x5 pixels; its own size is 224x224"),
        ("levit_128s", 33, "levit_128s"),
    ],
)
def test_what_cannot_be_traced_is_said_in_one_sentence(name, image, sentence):
    with pytest.raises(VitEdgeError, match=sentence.replace("[", r"\[")) as caught:
        trace(name, image)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_wrong_number_of_channels_is_said_in_one_sentence():
    with pytest.raises(VitEdgeError, match="cannot take images"):
        trace_model(network("plain"), "tiny", (4, SIDE, SIDE))
