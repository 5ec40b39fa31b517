"""The same network, written down so that an engine carries it out faster; rounding apart, the answers stay.

Three things: tokens merge by a product with zeros and ones, since OpenVINO's CPU plugin scatters and copies indices in
reference code; gain and shift of a norm move into the linear layer behind it, which fuses the norm with the rounding of
its result; and where the classifier reads the class token only, the last block does not compute what becomes of the
others: they serve as its keys and values, no more.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.norm import LayerNorm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from vitedge_core.convert.plain import own_copy
from vitedge_core.surgery.open_attention import OpenAttention, opened, unit_sizes
from vitedge_core.surgery.tokens import MergingBlock, Tokens


class LastBlock(nn.Module):
    """A last block that computes its first `prefix` tokens only: [B, N, D] -> [B, prefix, D].

    Merging in it falls away, too, since prefix tokens take no part in it.
    """

    def __init__(self, block: Any, attn: Any, prefix: int) -> None:
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
    part = nn.Linear(weight.shape[1], weight.shape[0], bias=layer.bias is not None, device="meta")  # draws no numbers
    part.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        part.bias = nn.Parameter(layer.bias[rows], requires_grad=False)
    return part


def for_engines(model: nn.Module) -> nn.Module:
    """A copy of the model in that form.

    Args:
        model: Any; where it has nothing of the kind the copy is a plain one.
    """
    changed = own_copy(model)
    if isinstance(changed, VisionTransformer):
        _shorten(changed)
        for block in changed.blocks:
            _fold_block(block)
    for module in changed.modules():
        if isinstance(module, MergingBlock):
            module.by_product = True
    return changed


def _shorten(model: Any) -> None:
    """Let the last block of a plain ViT compute what its classifier reads; in place."""
    if model.global_pool != "token" or model.attn_pool is not None:
        return
    block = model.blocks[-1]
    attn = opened(block.attn) if type(block) in {Block, MergingBlock} else None
    if isinstance(attn, OpenAttention) and attn.products is None and type(attn.qkv) is nn.Linear:
        model.blocks[-1] = LastBlock(block, attn, model.num_prefix_tokens)


def _fold_block(block: Any) -> None:
    """Fold both norms of a block that normalises what enters its halves; in place."""
    if isinstance(block, LastBlock):
        _fold(block.norm1, block.query, block.key_value)
    elif type(block) in {Block, MergingBlock}:
        _fold(block.norm1, block.attn.qkv)
    else:
        return
    _fold(block.norm2, getattr(block.mlp, "fc1", None))


@torch.no_grad()
def _fold(norm: Any, *layers: Any) -> None:
    """Move gain and shift of the norm into the layers that read it, and only they; nothing where one is no plain layer.

    W (g x + s) + b = (W g) x + (W s + b).
    """
    plain = type(norm) in {nn.LayerNorm, LayerNorm} and norm.weight is not None
    if not plain or not all(type(layer) is nn.Linear for layer in layers):
        return
    gain: Any = norm.weight
    shift = norm.bias if norm.bias is not None else torch.zeros_like(gain)
    for layer in layers:
        bias = layer.weight @ shift + (layer.bias if layer.bias is not None else 0.0)
        layer.bias = nn.Parameter(bias, requires_grad=False)
        layer.weight = nn.Parameter(layer.weight * gain, requires_grad=False)
    norm.elementwise_affine = False
    norm.weight = norm.bias = None
