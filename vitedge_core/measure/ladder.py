"""What a board is calibrated on: stacks of layers of each kind, small to large, and a few whole networks.

Layers stand in stacks with weights of their own, because a single layer timed again and again would find its weights
in the nearest cache, where no network finds them. Weights are random: they change no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import timm
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

Shape = tuple[int, int, int]
NETWORKS = (
    "test_vit", "test_vit3", "deit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "levit_128s",
    "mobilevit_xs", "efficientvit_b1", "efficientformerv2_s0", "edgenext_xx_small", "xcit_nano_12_p16_224",
    "pvt_v2_b0", "fastvit_t8", "mobilenetv3_small_100", "resnet18",
)  # fmt: skip
SMALL_SWIN = "a small Swin"


@dataclass(frozen=True, slots=True)
class Rung:
    """Something to time: a name, a way to build it, and the shape of one input without its batch."""

    name: str
    build: Callable[[], nn.Module]
    shape: Shape
    whole: bool = False  # a network, not a stack of layers


def rungs() -> Iterator[Rung]:
    """Everything that a calibration times."""
    yield from _products()
    yield from _convolutions()
    yield from _attentions()
    yield from _the_rest()
    yield from networks()


def networks() -> Iterator[Rung]:
    """The whole networks among them."""
    for name in NETWORKS:
        yield Rung(name, lambda name=name: timm.create_model(name), _input(name), whole=True)
    yield Rung(SMALL_SWIN, _small_swin, (3, 224, 224), whole=True)


def _input(name: str) -> Shape:
    return timm.get_pretrained_cfg(name).input_size  # type: ignore[union-attr,return-value]


def _small_swin() -> nn.Module:
    return SwinTransformer(embed_dim=48, depths=(2, 2, 2, 1), num_heads=(2, 4, 8, 16))


def _products() -> Iterator[Rung]:
    """[1, N, D] through pairs of linear layers, as an MLP has them."""
    for tokens, width, pairs in ((3136, 64, 1), (784, 96, 2), (197, 192, 4), (197, 384, 2), (49, 384, 3), (50, 768, 1),
                                 (16, 256, 4), (197, 48, 6), (1, 512, 3)):  # fmt: skip
        yield Rung(
            f"{pairs} MLPs, {tokens} tokens of {width}", lambda d=width, n=pairs: _mlps(d, n), (1, tokens, width)
        )


def _mlps(width: int, pairs: int) -> nn.Module:
    return nn.Sequential(*[nn.Linear(a, b) for _ in range(pairs) for a, b in ((width, 4 * width), (4 * width, width))])


def _convolutions() -> Iterator[Rung]:
    """[1, C, S, S] through convolutions: pointwise, dense, depthwise, patches."""
    for width, side, pairs in ((16, 112, 1), (32, 56, 2), (64, 56, 1), (64, 28, 3), (128, 14, 4), (256, 7, 3)):
        layers = [(width, 3 * width, 1, 1, 1), (3 * width, width, 1, 1, 1)] * pairs
        yield _convolution(f"pointwise {width}, {side}x{side}", layers, side)
    for width, side, count in ((24, 112, 1), (64, 56, 2), (128, 28, 2), (256, 14, 2), (384, 7, 1)):
        yield _convolution(f"3x3 {width}, {side}x{side}", [(width, width, 3, 1, 1)] * count, side)
    yield _convolution("3x3 stem", [(3, 24, 3, 2, 1), (24, 48, 3, 2, 1)], 224)
    for width, side, size in ((64, 56, 3), (128, 28, 3), (256, 14, 3), (512, 7, 3), (48, 112, 3), (192, 28, 5),
                              (96, 56, 7), (256, 14, 7), (384, 7, 7)):  # fmt: skip
        yield _convolution(
            f"depthwise {size}x{size} {width}, {side}x{side}", [(width, width, size, 1, width)] * 2, side
        )
    yield _convolution("depthwise stride 2", [(96, 96, 3, 2, 96), (96, 96, 3, 2, 96)], 112)
    yield _convolution("patches of 16", [(3, 192, 16, 16, 1)], 224)
    yield _convolution("patches of 4", [(3, 64, 4, 4, 1)], 224)


def _convolution(name: str, layers: list[tuple[int, int, int, int, int]], side: int) -> Rung:
    def build() -> nn.Module:
        return nn.Sequential(*[
            nn.Conv2d(a, b, size, stride, 0 if stride == size else size // 2, groups=groups, bias=False)
            for a, b, size, stride, groups in layers
        ])  # fmt: skip

    return Rung(f"{len(layers)} convolutions, {name}", build, (layers[0][0], side, side))


class _Fused(nn.Module):
    """[1, 3 H, N, d]: PyTorch's own attention, twice."""

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = x.chunk(3, 1)
        return F.scaled_dot_product_attention(F.scaled_dot_product_attention(query, key, value), key, value)


class _Plain(nn.Module):
    """[1, 3 H, N, d]: attention as two products with a softmax between them."""

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = x.chunk(3, 1)
        return (query * 0.1 @ key.transpose(-2, -1)).softmax(-1) @ value


def _attentions() -> Iterator[Rung]:
    for heads, tokens, width in ((3, 197, 64), (12, 50, 64), (2, 784, 32), (6, 197, 64), (8, 64, 16)):
        yield Rung(f"fused attention, {heads} heads, {tokens} tokens", _Fused, (3 * heads, tokens, width))
    for heads, tokens, width in ((192, 49, 32), (4, 196, 16), (8, 64, 24), (24, 49, 32)):
        yield Rung(f"plain attention, {heads} heads, {tokens} tokens", _Plain, (3 * heads, tokens, width))


class _Calls(nn.Module):
    """One function, several times in turn."""

    def __init__(self, call: Callable[[Tensor], Tensor], times: int) -> None:
        super().__init__()
        self.call, self.times = call, times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.call(x)
        return x


def _the_rest() -> Iterator[Rung]:
    """Norms, activations, sums, copies, and operations so small that only their call counts."""
    for tokens, width in ((3136, 64), (197, 192), (197, 768), (49, 384)):
        yield _repeated(f"layer norm, {tokens} tokens of {width}", lambda d=width: nn.LayerNorm(d), (1, tokens, width))
    for width, side in ((32, 112), (64, 56), (128, 28), (384, 14), (512, 7)):
        yield _repeated(f"batch norm, {width}, {side}x{side}", lambda c=width: nn.BatchNorm2d(c), (width, side, side))
    for tokens, width in ((3136, 64), (197, 768), (49, 384), (1, 8)):
        shape = (1, tokens, width)
        size = f"{tokens} tokens of {width}"
        for name, layer in (("GELU", nn.GELU), ("ReLU", nn.ReLU), ("SiLU", nn.SiLU), ("hard swish", nn.Hardswish)):
            yield _repeated(f"{name}, {size}", layer, shape)
        yield _repeated(f"sum, {size}", lambda: _Calls(lambda x: x + x, 1), shape)
        yield _repeated(f"scaling, {size}", lambda: _Calls(lambda x: x * 0.5, 1), shape)
        if tokens > 1:  # a single row is turned without being moved
            yield _repeated(f"copy, {size}", lambda: _Calls(lambda x: x.transpose(-2, -1).contiguous(), 1), shape)
        yield _repeated(f"roll, {size}", lambda: _Calls(lambda x: torch.roll(x, 3, 2), 1), shape)
    yield _repeated("softmax, 3 heads, 197 tokens", lambda: nn.Softmax(-1), (3, 197, 197))
    yield Rung("8 small linear layers", lambda: nn.Sequential(*[nn.Linear(8, 8) for _ in range(8)]), (1, 4, 8))


def _repeated(name: str, layer: Callable[[], nn.Module], shape: Shape, times: int = 4) -> Rung:
    return Rung(f"{times} times {name}", lambda: nn.Sequential(*[layer() for _ in range(times)]), shape)
