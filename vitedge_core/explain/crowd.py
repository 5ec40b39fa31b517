"""Rollout of many images at once, for figures over a data set.

It is `attention.rollout_map` (Abnar and Zuidema, ACL 2020, arXiv:2005.00928) with a batch in front. One image is
observed first and lends its layout: which places of which window hold which token. Where the layout differs from image
to image (merged tokens, pooling attention), the images are observed one by one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.explain.attention import BlockAttention, Observation, rollout_map
from vitedge_core.explain.observer import observer, shell_of
from vitedge_core.explain.watch import attention_sites, watching
from vitedge_core.surgery.tokens import merging_blocks

MapsOf = Callable[[Tensor], Tensor]


def rollouts(model: nn.Module, example: Tensor) -> MapsOf:
    """A function from images [B, 3, height, width] to their rollout maps [B, h, w].

    Args:
        model: Any timm classifier; it is neither changed nor hooked.
        example: At least one image, prepared for the model, to learn the layout of its tokens from.

    Raises:
        VitEdgeError: The model has no map of attention; the sentence says why.
    """
    observe = observer(model)
    first, last = observe(example[:1], None), observe(example[-1:], None)
    if not first.blocks:
        raise VitEdgeError(first.note)
    if merging_blocks(model) is not None or not _alike(first, last):
        return lambda images: torch.stack([rollout_map(observe(image[None], None)) for image in images])
    shell = shell_of(model)
    return lambda images: _together(shell, first, images)


def _alike(one: Observation, other: Observation) -> bool:
    """Whether the layout is that of the network and not of the image, and one that can be carried for many at once."""
    assert one.reader is not None
    assert other.reader is not None
    same_fates = all(
        torch.equal(a.fate.owner, b.fate.owner) for a, b in zip(one.blocks, other.blocks, strict=True)
    )  # fmt: skip
    return torch.equal(one.reader, other.reader) and same_fates and all(block.keys is None for block in one.blocks)


def _together(shell: nn.Module, layout: Observation, images: Tensor) -> Tensor:
    sites = attention_sites(shell)
    attentions = [sites[block.path][1] for block in layout.blocks]
    with torch.no_grad(), watching(attentions) as watch:
        shell(images)
    assert layout.reader is not None
    count = len(images)
    final = layout.final or layout.blocks[-1].fate
    mass, fate = final.gather(layout.reader.expand(count, -1)), final
    for block, attention in zip(reversed(layout.blocks), reversed(attentions), strict=True):
        weights = watch.calls[attention][0].float().reshape(count, *block.weights.shape).mean(2)
        mass = _flow(block.fate.gather(fate.spread(mass)), weights, block)
        fate = block.fate
    return layout.on_grid(fate.spread(mass))


def _flow(rows: Tensor, mean: Tensor, block: BlockAttention) -> Tensor:
    """`BlockAttention.flow` with one row for each image.

    Args:
        rows: [B, N].
        mean: Over heads, [B, G, n, n].
        block: Says where the places of the windows are.
    """
    tokens = block.fate.tokens
    inside = torch.where(block.places < 0, tokens, block.places)  # [G, n]; padding is one token more
    flat = inside.flatten()
    arrives = torch.einsum("bgij,gj->bgi", mean, (block.places >= 0).to(mean.dtype)).flatten(1)
    reached = rows.new_zeros(len(rows), tokens + 1).index_add_(1, flat, arrives)[:, :tokens]
    rows = rows / (0.5 + 0.5 * reached)
    carried = torch.einsum("bgi,bgij->bgj", F.pad(rows, (0, 1))[:, inside], mean).flatten(1)
    moved = rows.new_zeros(len(rows), tokens + 1).index_add_(1, flat, carried)[:, :tokens]
    return 0.5 * rows + 0.5 * moved
