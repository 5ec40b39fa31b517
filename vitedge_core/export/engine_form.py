"""The same network, written down so that an engine carries it out faster; rounding apart, the answers stay.

OpenVINO's CPU plugin scatters and copies indices in reference code, and runs a convolution whose windows do not overlap
slower than the product it is; both are written as products here. And where the classifier reads the class token only,
the last block need not compute what becomes of the others: they serve as its keys and values, no more.
"""

from __future__ import annotations

import copy
from typing import Any

import torch.nn.functional as F
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from vitedge_core.surgery.open_attention import OpenAttention, opened, unit_sizes
from vitedge_core.surgery.tokens import MergingBlock, Tokens


class PatchProduct(nn.Module):
    """A convolution without overlap as one product for each patch: [B, C, h p, w q] -> [B, D, h, w]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.window = convolution.kernel_size

    def forward(self, images: Tensor) -> Tensor:
        """Patches by rows, as the convolution gives them."""
        batch, channels, height, width = images.shape
        (p, q), (h, w) = self.window, (height // self.window[0], width // self.window[1])
        patches = images.reshape(batch, channels, h, p, w, q).permute(0, 2, 4, 1, 3, 5).reshape(batch, h * w, -1)
        return F.linear(patches, self.weight.flatten(1), self.bias).transpose(1, 2).reshape(batch, -1, h, w)


class LastBlock(nn.Module):
    """A last block that computes its first `prefix` tokens only: [B, N, D] -> [B, prefix, D].

    Merging in it falls away, too, since prefix tokens take no part in it.
    """

    def __init__(self, block: Any, attn: OpenAttention, prefix: int) -> None:
        super().__init__()
        self.norm1, self.ls1, self.norm2, self.mlp, self.ls2 = block.norm1, block.ls1, block.norm2, block.mlp, block.ls2
        self.q_norm, self.k_norm, self.norm, self.proj = attn.q_norm, attn.k_norm, attn.norm, attn.proj
        self.heads, self.prefix = attn.num_heads, prefix
        self.proportional = getattr(block, "proportional", False)
        width = attn.qkv.weight.shape[0] // 3
        self.query, self.key_value = _rows(attn.qkv, slice(width)), _rows(attn.qkv, slice(width, None))

    def forward(self, tokens: Tokens | Tensor) -> Tokens | Tensor:
        """The prefix tokens, alone or as `Tokens`, as they came."""
        if isinstance(tokens, Tensor):
            return self._compute(tokens, None)
        bias = unit_sizes(tokens.sizes) if self.proportional and tokens.sizes is not None else None
        return Tokens(self._compute(tokens.values, bias))

    def _compute(self, x: Tensor, bias: Tensor | None) -> Tensor:
        seen, x = self.norm1(x), x[:, : self.prefix]
        q = self._by_head(self.query(seen[:, : self.prefix]), 1)
        k, v = self._by_head(self.key_value(seen), 2)
        mixed = F.scaled_dot_product_attention(self.q_norm(q[0]), self.k_norm(k), v, attn_mask=bias)
        x = x + self.ls1(self.proj(self.norm(mixed.transpose(1, 2).flatten(2))))
        return x + self.ls2(self.mlp(self.norm2(x)))

    def _by_head(self, x: Tensor, parts: int) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], parts, self.heads, -1).permute(2, 0, 3, 1, 4)


def _rows(layer: Any, rows: slice) -> nn.Linear:
    """A linear layer of some of another's outputs."""
    weight = layer.weight[rows]
    part = nn.Linear(weight.shape[1], weight.shape[0], bias=layer.bias is not None)
    part.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        part.bias = nn.Parameter(layer.bias[rows], requires_grad=False)
    return part


def for_engines(model: nn.Module) -> nn.Module:
    """A copy of the model that merges tokens and embeds patches by products, and computes no token that nobody reads.

    Args:
        model: Any; where it has nothing of the kind the copy is a plain one.
    """
    changed = copy.deepcopy(model).eval().requires_grad_(False)
    _shorten(changed)
    for module in changed.modules():
        if isinstance(module, MergingBlock):
            module.by_product = True
        if isinstance(module, PatchEmbed) and _without_overlap(module.proj):
            module.proj = PatchProduct(module.proj)
    return changed


def _shorten(model: Any) -> None:
    """Let the last block of a plain ViT compute what its classifier reads; in place."""
    if not isinstance(model, VisionTransformer) or model.global_pool != "token" or model.attn_pool is not None:
        return
    block: Any = model.blocks[-1]
    attn = opened(block.attn) if type(block) in {Block, MergingBlock} else None
    if isinstance(attn, OpenAttention) and attn.products is None and type(attn.qkv) is nn.Linear:
        model.blocks[-1] = LastBlock(block, attn, model.num_prefix_tokens)


def _without_overlap(layer: Any) -> bool:
    """Whether it is a plain convolution that sees every pixel of an image of fitting size exactly once."""
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == layer.stride
        and layer.padding == (0, 0)
        and layer.dilation == (1, 1)
        and layer.groups == 1
    )
