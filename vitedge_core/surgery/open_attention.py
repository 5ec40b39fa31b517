"""timm's attention with its inside open: its keys can be read, and its two products can run on a grid.

Children keep the names that timm gives them, so module paths, state dicts and the removal of heads stay what they are.
The arithmetic is timm's (`timm.layers.Attention`, `timm.models.swin_transformer.WindowAttention`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.models.swin_transformer import WindowAttention
from torch import Tensor, nn

_PLAIN = ("qkv", "q_norm", "k_norm", "attn_drop", "norm", "proj", "proj_drop")
_WINDOW = ("qkv", "attn_drop", "proj", "proj_drop")


class Products(nn.Module):
    """The two products of attention, written out: every operand passes a child that may put it on a grid."""

    OPERANDS = ("query", "key", "weights", "value")

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Identity()  # scaled queries
        self.key = nn.Identity()
        self.weights = nn.Identity()  # after the softmax
        self.value = nn.Identity()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, drop: nn.Module) -> Tensor:
        """softmax(q k^T + bias) v.

        Args:
            q: Scaled queries [B, H, N, d].
            k: Keys [B, H, N, d].
            v: Values [B, H, N, d].
            bias: Added to the scores; it broadcasts to [B, H, N, N] and is never quantised (Swin masks with -100).
            drop: Dropout of the attention weights.

        Returns:
            [B, H, N, d].
        """
        scores = self.query(q) @ self.key(k).transpose(-2, -1)
        if bias is not None:
            scores = scores + bias
        return self.weights(drop(scores.softmax(dim=-1))) @ self.value(v)


class _Open(nn.Module):
    """What both kinds share. `products` is None as long as the fused kernel does the work."""

    whole_heads = True  # heads can be removed one by one

    num_heads: int
    scale: float
    qkv: nn.Module
    proj: nn.Module
    proj_drop: nn.Module
    attn_drop: nn.Dropout

    def __init__(self, host: Any, children: tuple[str, ...]) -> None:
        super().__init__()
        for name in children:
            setattr(self, name, getattr(host, name))
        self.num_heads = host.num_heads
        self.scale = host.scale
        self.products: Products | None = None
        self.train(host.training)

    def open_products(self) -> Products:
        """Write the products out, if the fused kernel still does them; in place."""
        if self.products is None:
            self.products = Products()
        return self.products

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x.shape
        parts = self.qkv(x).reshape(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        return parts.unbind(0)

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """[B, H, N, d] each -> [B, N, H * d]."""
        if self.products is not None:
            mixed = self.products(q * self.scale, k, v, bias, self.attn_drop)
        else:
            drop = self.attn_drop.p if self.training else 0.0
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=drop)
        return mixed.transpose(1, 2).flatten(2)


class OpenAttention(_Open):
    """Global attention, with norms of queries and keys where the model has them."""

    q_norm: nn.Module
    k_norm: nn.Module
    norm: nn.Module

    def __init__(self, host: Any) -> None:
        super().__init__(host, _PLAIN)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, *,
                with_keys: bool = False) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        """Attend.

        Args:
            x: [B, N, D].
            attn_mask: Added to the scores before the softmax, broadcast to [B, H, N, N].
            is_causal: Must be false; it is there because timm's blocks pass it.
            with_keys: Return the keys [B, H, N, d] as well.
        """
        if is_causal:
            raise ValueError("an image has no order that a causal mask could follow")
        q, k, v = self._split(x)
        q, k = self.q_norm(q), self.k_norm(k)
        y = self.proj_drop(self.proj(self.norm(self._mix(q, k, v, attn_mask))))
        return (y, k) if with_keys else y


class OpenWindowAttention(_Open):
    """Swin's attention inside a window, with its table of relative positions."""

    relative_position_index: Tensor
    relative_position_bias_table: nn.Parameter

    def __init__(self, host: Any) -> None:
        super().__init__(host, _WINDOW)
        self.window_area: int = host.window_area
        self.relative_position_bias_table = host.relative_position_bias_table
        self.register_buffer("relative_position_index", host.relative_position_index, persistent=False)

    def _bias(self, mask: Tensor | None, groups: int) -> Tensor:
        """Relative positions [1, H, N, N], and the mask of shifted windows [groups, H, N, N] where there is one."""
        area = self.window_area
        table = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = table.view(area, area, -1).permute(2, 0, 1).unsqueeze(0)
        if mask is None:
            return bias
        return bias + mask.unsqueeze(1).repeat(groups // len(mask), 1, 1, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend inside the windows.

        Args:
            x: [B * windows, N, D].
            mask: Added to the scores of each window, [windows, N, N].
        """
        mixed = self._mix(*self._split(x), self._bias(mask, x.shape[0]))
        return self.proj_drop(self.proj(mixed))


def opens(attn: nn.Module) -> bool:
    """Whether this is an attention known here."""
    plain = type(attn) is Attention and getattr(attn, "gate", None) is None
    return plain or type(attn) is WindowAttention or is_open(attn)


def opened(attn: nn.Module) -> OpenAttention | OpenWindowAttention | None:
    """The open form of an attention, sharing its parameters; None when this is no attention known here."""
    if isinstance(attn, OpenAttention | OpenWindowAttention):
        return attn
    if not opens(attn):
        return None
    return OpenWindowAttention(attn) if type(attn) is WindowAttention else OpenAttention(attn)


def is_open(module: nn.Module) -> bool:
    """Whether the module is an attention in its open form."""
    return isinstance(module, OpenAttention | OpenWindowAttention)


def operand_paths(path: str) -> tuple[str, ...]:
    """Paths of the four operands of an open attention at `path`."""
    return tuple(f"{path}.products.{name}" for name in Products.OPERANDS)


def unit_sizes(sizes: Tensor) -> Tensor:
    """Sizes of tokens [B, N] as a bias of the scores [B, 1, 1, N]: a key that stands for s tokens counts s times."""
    return torch.log(sizes)[:, None, None, :]
