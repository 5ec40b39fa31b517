"""Merging alike tokens between attention and MLP, and finding out afterwards which patch went where.

The matching is that of Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023, arXiv 2210.09461), section 3.
Blocks hand each other the tokens together with their sizes; nothing is kept in the modules, so a merged model is safe
under threads, deep-copies and exports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, ResPostBlock
from torch import Tensor, nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.surgery.open_attention import OpenAttention, opened, unit_sizes


class Tokens(NamedTuple):
    """Tokens on their way through the blocks.

    values: [B, N, D]. sizes: how many original tokens each stands for [B, N]; None while every size is one.
    owners: for every original token the place of the one that holds it now [B, N0]; None when nobody asks.
    """

    values: Tensor
    sizes: Tensor | None = None
    owners: Tensor | None = None


def mergeable(tokens: int, prefix: int, r: int) -> int:
    """How many of `tokens` a block can merge when asked for `r`: at most half of those that are no prefix tokens."""
    return max(0, min(r, (tokens - prefix) // 2))


def matching_macs(tokens: int, prefix: int, width: int) -> int:
    """MACs of comparing one half of the patch tokens with the other by keys of `width`."""
    patches = tokens - prefix
    return (patches // 2) * (patches - patches // 2) * width


def places_after(metric: Tensor, prefix: int, r: int) -> Tensor:
    """Where every token goes when the `r` most alike pairs merge.

    Tokens are split alternately by position (counted from the first prefix token, so a class token is in the first
    set); each of the first set is matched with its most alike of the second, and the best `r` of these pairs merge.
    Prefix tokens stay where they are, then come the unmerged ones of the first set in order, then the second set.

    Args:
        metric: [B, N, d]; tokens are compared by the cosine of these.
        prefix: Leading tokens that neither merge nor receive.
        r: Pairs to merge, 1 to `mergeable(N, prefix, r)`.

    Returns:
        Place of each token among the N - r that remain, int64 [B, N].
    """
    patches = F.normalize(metric[:, prefix:], dim=-1)
    first = slice(prefix % 2, None, 2)
    second = slice(1 - prefix % 2, None, 2)
    likeness = patches[:, first] @ patches[:, second].transpose(1, 2)
    best, partner = likeness.max(dim=-1)
    kept = likeness.shape[1] - r
    if kept:
        goes = torch.zeros_like(partner).scatter(1, best.topk(r, dim=1).indices, 1)
        partner = torch.where(goes == 1, kept + partner, (1 - goes).cumsum(1) - 1)
    receivers = kept + torch.arange(likeness.shape[2], device=metric.device).expand(metric.shape[0], -1)
    alternate = (receivers, partner) if prefix % 2 else (partner, receivers)
    stay = torch.arange(prefix, device=metric.device).expand(metric.shape[0], -1)
    return torch.cat([stay, prefix + _interleaved(*alternate)], dim=1)


def _interleaved(even: Tensor, odd: Tensor) -> Tensor:
    """[B, n] and [B, n or n - 1] by turns, the first of the even ones first."""
    pairs = torch.stack([even[:, : odd.shape[1]], odd], dim=-1).flatten(1)
    return torch.cat([pairs, even[:, odd.shape[1] :]], dim=1)


def merge(tokens: Tokens, places: Tensor, length: int, *, by_product: bool = False) -> Tokens:
    """Put tokens together that go to the same place: means weighted by size; sizes add.

    Args:
        tokens: N of them.
        places: From `places_after`, [B, N].
        length: How many remain.
        by_product: Add up by a product with a matrix of zeros and ones instead of by scattering: the same sums at
            N x `length` MACs for each channel, which engines with slow scattering take less time for.
    """
    values, sizes, owners = tokens
    if sizes is None:
        sizes = torch.ones_like(values[:, :, 0])
    weighted = values * sizes.unsqueeze(-1)
    if by_product:
        goes = (places.unsqueeze(1) == torch.arange(length, device=places.device)[:, None]).to(values.dtype)
        total, summed = (goes * sizes.unsqueeze(1)).sum(-1), goes @ weighted
    else:
        total = sizes.new_zeros(sizes.shape[0], length).scatter_add(1, places, sizes)
        where = places.unsqueeze(-1).expand_as(values)
        summed = values.new_zeros(values.shape[0], length, values.shape[-1]).scatter_add(1, where, weighted)
    return Tokens(summed / total.unsqueeze(-1), total, None if owners is None else places.gather(1, owners))


class MergingBlock(nn.Module):
    """A timm `Block` that merges `r` tokens between its two halves; the children keep their names."""

    children_kept: ClassVar = ("norm1", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2")
    norm1: nn.Module
    ls1: nn.Module
    drop_path1: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    ls2: nn.Module
    drop_path2: nn.Module

    def __init__(self, host: nn.Module, attn: OpenAttention, r: int, prefix: int, *, proportional: bool) -> None:
        super().__init__()
        self.attn = attn
        for name in self.children_kept:
            setattr(self, name, getattr(host, name))
        self.r, self.prefix, self.proportional = r, prefix, proportional
        self.by_product = False  # how tokens are added up, see `merge`
        self.train(host.training)

    def _first_half(self, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        mixed, keys = self.attn(self.norm1(x), attn_mask=bias, with_keys=True)
        return x + self.drop_path1(self.ls1(mixed)), keys

    def _second_half(self, x: Tensor) -> Tensor:
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def forward(self, tokens: Tokens) -> Tokens:
        """[B, N, D] with sizes -> [B, N - r, D] with sizes."""
        sizes = tokens.sizes
        bias = unit_sizes(sizes) if self.proportional and sizes is not None else None
        x, keys = self._first_half(tokens.values, bias)
        tokens = tokens._replace(values=x)
        r = mergeable(x.shape[1], self.prefix, self.r)
        if r:
            places = places_after(keys.mean(dim=1), self.prefix, r)
            tokens = merge(tokens, places, x.shape[1] - r, by_product=self.by_product)
        return tokens._replace(values=self._second_half(tokens.values))


class MergingPostBlock(MergingBlock):
    """The same for timm's `ResPostBlock`, which normalises what a half adds."""

    children_kept: ClassVar = ("norm1", "drop_path1", "norm2", "mlp", "drop_path2")

    def _first_half(self, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        mixed, keys = self.attn(x, attn_mask=bias, with_keys=True)
        return x + self.drop_path1(self.norm1(mixed)), keys

    def _second_half(self, x: Tensor) -> Tensor:
        return x + self.drop_path2(self.norm2(self.mlp(x)))


def merging(block: Any, r: int, prefix: int, *, proportional: bool) -> MergingBlock:
    """A block with the same children that merges.

    Raises:
        VitEdgeError: It is no block known here.
    """
    attn = opened(block.attn) if type(block) in _MERGING else None
    if not isinstance(attn, OpenAttention):
        raise VitEdgeError(
            f"Token merging knows timm's plain blocks, not this {type(block).__name__}; choose a plain ViT or DeiT."
        )
    return _MERGING[type(block)](block, attn, r, prefix, proportional=proportional)


_MERGING: dict[type[nn.Module], type[MergingBlock]] = {Block: MergingBlock, ResPostBlock: MergingPostBlock}


class MergingBlocks(nn.Sequential):
    """The blocks of a merging model: tokens in, tokens out, as timm's `Sequential` of blocks.

    `restores` says that afterwards every original token gets the value of the one that holds it. Whatever pools over
    all tokens (mean, maximum, attention) then weighs a merged token by its size, exactly.
    """

    def __init__(self, *blocks: nn.Module, restores: bool = False) -> None:
        super().__init__(*blocks)
        self.restores = restores

    def forward(self, input: Tensor) -> Tensor:
        """[B, N, D] -> [B, N', D]; N' = N when it restores."""
        tokens = Tokens(input, owners=_everyone(input) if self.restores else None)
        for block in self:
            tokens = block(tokens)
        if tokens.owners is None:
            return tokens.values
        return tokens.values.gather(1, tokens.owners.unsqueeze(-1).expand(-1, -1, input.shape[-1]))

    def trail(self, x: Tensor) -> list[Tokens]:
        """Run the blocks and return the tokens after each of them, with their owners.

        Args:
            x: What enters the first block, [B, N, D].
        """
        passed, tokens = [], Tokens(x, owners=_everyone(x))
        for block in self:
            tokens = block(tokens)
            passed.append(tokens)
        return passed


def _everyone(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)


def start_merging(model: nn.Module, asked: Sequence[int], *, proportional: bool) -> None:
    """Let every block of a plain ViT merge as many tokens as asked; in place.

    Args:
        model: A timm VisionTransformer; what pools over its tokens afterwards is looked at, too.
        asked: Tokens to merge, one number per block.
        proportional: Whether attention counts a merged token as often as the tokens in it.

    Raises:
        VitEdgeError: The model is of another kind, or merges already.
    """
    host = getattr(model, "blocks", None)
    if not isinstance(host, nn.Sequential) or isinstance(host, MergingBlocks) or len(host) != len(asked):
        raise VitEdgeError("Token merging needs a plain ViT with its blocks in a row, whose tokens are not merged yet.")
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    blocks = [merging(block, r, prefix, proportional=proportional) for block, r in zip(host, asked, strict=True)]
    model.blocks = MergingBlocks(*blocks, restores=_pools_over_tokens(model)).train(host.training)


def _pools_over_tokens(model: nn.Module) -> bool:
    """Whether the classifier looks at more than the tokens that never merge."""
    return getattr(model, "attn_pool", None) is not None or getattr(model, "global_pool", "token") != "token"


def merging_blocks(model: nn.Module) -> MergingBlocks | None:
    """The blocks of a model that merges tokens, or None."""
    found: Iterable[nn.Module] = model.modules()
    return next((module for module in found if isinstance(module, MergingBlocks)), None)


@torch.no_grad()
def owners_after_blocks(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Which token holds each original one after every block of a merging model; the model is left as it is.

    Args:
        model: Any model; one that merges nothing gives an empty list.
        images: [B, 3, height, width], normalised.

    Returns:
        One int64 [B, N0] per block: for each of the N0 original tokens (prefix tokens first, then patches by rows) the
        place of the token that holds it when the block is done.
    """
    blocks = merging_blocks(model)
    if blocks is None:
        return []
    entered: list[Tensor] = []
    hook = blocks.register_forward_pre_hook(lambda _, arguments: entered.append(arguments[0]))
    try:
        model(images)
    finally:
        hook.remove()
    return [tokens.owners for tokens in blocks.trail(entered[0]) if tokens.owners is not None]
