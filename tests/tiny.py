"""Networks so small that a test can afford to compress them, and images for them. Untrained, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitedge_core.datasets.batch import Batch
from vitedge_core.models.trace import trace_model
from vitedge_core.plan import Plan
from vitedge_core.techniques.base import Context

SIDE, CLASSES = 32, 10
_VIT = {"img_size": SIDE, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": CLASSES}


def plain() -> VisionTransformer:
    return VisionTransformer(**_VIT)


def distilled() -> VisionTransformerDistilled:
    return VisionTransformerDistilled(**_VIT)


def registers() -> VisionTransformer:
    """Register tokens, LayerScale, norms of queries and keys, mean of the tokens at the end."""
    return VisionTransformer(
        **{**_VIT, "num_heads": 4}, reg_tokens=2, init_values=0.1, qk_norm=True, class_token=False, global_pool="avg"
    )


def swin() -> SwinTransformer:
    """Two stages with shifted windows."""
    return SwinTransformer(
        img_size=SIDE, patch_size=2, window_size=4, embed_dim=24, depths=(2, 2), num_heads=(3, 6), num_classes=CLASSES
    )


def convnet() -> ByobNet:
    blocks = tuple(ByoBlockCfg(type="basic", d=1, c=width, s=2, gs=0, br=1.0) for width in (8, 16))
    shape = ByoModelCfg(blocks=blocks, stem_chs=8, stem_type="3x3", stem_pool="", act_layer="relu")
    return ByobNet(shape, num_classes=CLASSES)


HOSTS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain, "distilled": distilled, "registers": registers, "swin": swin, "convnet": convnet,
}  # fmt: skip


def network(host: str, seed: int = 0) -> nn.Module:
    """One of the hosts. Its weights are larger than timm's own beginnings, so that what is removed is missed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HOSTS[host]().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(3)
                elif parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def plan_of(model: nn.Module) -> Plan:
    return trace_model(model, "tiny", (3, SIDE, SIDE))


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def labels(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


def stream(seed: int) -> Iterator[Batch]:
    while True:
        seed += 1
        yield Batch(images(8, seed), labels(8))


def context(count: int = 12, **changes: object) -> Context:
    """Fresh calibration images, always the same."""
    given = {
        "images": images(count),
        "labels": labels(count),
        "stream": stream,
        "teacher": lambda name: network("plain", 9),
        **changes,
    }
    return Context(**given)
