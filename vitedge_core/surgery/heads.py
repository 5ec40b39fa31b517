"""Physical removal of whole attention heads.

The width of a head never changes, so the softmax keeps its scale: `scaled_dot_product_attention` derives it from the
width it sees (timm's fused path passes none).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitedge_core.surgery.linear import keep_inputs, keep_outputs


def columns_of(heads: Sequence[int], width: int) -> Tensor:
    """Columns of `proj` that belong to these heads, [heads * width]."""
    first = torch.as_tensor(heads, dtype=torch.long)[:, None] * width
    return (first + torch.arange(width)).flatten()


def rows_of(heads: Sequence[int], width: int, total: int) -> Tensor:
    """Rows of `qkv` that belong to these of `total` heads: queries, then keys, then values, [3 * heads * width]."""
    columns = columns_of(heads, width)
    return torch.cat([columns + part * total * width for part in range(3)])


def keep_heads(attn: Any, kept: Sequence[int]) -> None:
    """Keep these heads of an attention, in this order; in place.

    Args:
        attn: Holds `qkv` [3 * H * d, D], `proj` [D, H * d], `num_heads`, and a bias table [positions, H] if windowed.
        kept: Numbers of the heads that stay, at least one.
    """
    total = attn.num_heads
    if not kept or not all(0 <= head < total for head in kept):
        raise ValueError(f"cannot keep heads {list(kept)} of {total}")
    width = attn.proj.in_features // total
    keep_outputs(attn.qkv, rows_of(kept, width, total))
    keep_inputs(attn.proj, columns_of(kept, width))
    attn.num_heads = len(kept)
    if hasattr(attn, "attn_dim"):
        attn.attn_dim = len(kept) * width
    table = getattr(attn, "relative_position_bias_table", None)
    if table is not None:
        attn.relative_position_bias_table = nn.Parameter(
            table.detach()[:, list(kept)].clone(), requires_grad=table.requires_grad
        )
