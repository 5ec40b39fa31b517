"""Removing whole heads and MLP neurons from a model, and making up for their mean.

Removal is exact: the smaller model computes what the model computes in which the removed units give zero. What these
units give on average is worth keeping, and a bias can hold it: mean-shift compensation, as in Berisha et al.,
"Variance-Based Pruning for Accelerating and Compressing Trained Networks" (ICCV 2025, arXiv 2507.12988).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitedge_core.surgery.capture import inputs_of
from vitedge_core.surgery.heads import columns_of, keep_heads, rows_of
from vitedge_core.surgery.host import BlockHandle
from vitedge_core.surgery.linear import fold_inputs, keep_inputs, keep_outputs
from vitedge_core.surgery.masks import mask_of

BATCH = 32  # calibration images that go through the model at once


@dataclass(frozen=True, slots=True)
class Kept:
    """Numbers of the heads and of the hidden neurons that stay in a block."""

    heads: tuple[int, ...]
    hidden: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Inner:
    """One value per column of `proj` [H * d] and per neuron [M] (empty without an editable MLP)."""

    heads: Tensor
    hidden: Tensor


def batches(images: Tensor, tick: Callable[[float], None] = lambda share: None) -> Iterator[slice]:
    """Slices that cut the calibration images into batches; `tick` hears the share that is done."""
    for start in range(0, len(images), BATCH):
        tick(start / len(images))
        yield slice(start, start + BATCH)


def inner_layers(handles: Sequence[BlockHandle]) -> list[nn.Linear]:
    """The layers whose inputs are head outputs and hidden neurons: `proj` of every block, `fc2` where there is one."""
    return [layer for h in handles for layer in (h.attn.proj, h.mlp.fc2 if h.mlp is not None else None) if layer]


@torch.no_grad()
def inner_means(
    model: nn.Module, handles: Sequence[BlockHandle], images: Tensor, tick: Callable[[float], None] = lambda share: None
) -> list[Inner]:
    """Mean output of every head dimension and hidden neuron over images and tokens, one entry per block.

    Args:
        model: Left as it is.
        handles: Its blocks.
        images: [n, 3, height, width].
        tick: Called before each batch with the share done; may raise to stop.
    """
    layers = inner_layers(handles)
    sums = {layer: torch.zeros(layer.in_features, dtype=torch.float64) for layer in layers}
    counts = dict.fromkeys(layers, 0)
    with inputs_of(layers) as seen:
        for part in batches(images, tick):
            model(images[part])
            for layer in layers:
                rows = seen[layer].flatten(0, -2)
                sums[layer] += rows.sum(0, dtype=torch.float64)
                counts[layer] += len(rows)
    means = {layer: (sums[layer] / counts[layer]).float() for layer in layers}
    nothing = torch.zeros(0)
    return [Inner(means[h.attn.proj], means[h.mlp.fc2] if h.mlp is not None else nothing) for h in handles]


def _gone(kept: Sequence[int], total: int) -> list[int]:
    staying = set(kept)
    return [unit for unit in range(total) if unit not in staying]


def cut(handle: BlockHandle, kept: Kept, means: Inner | None = None) -> None:
    """Keep these heads and neurons of a block; in place.

    Args:
        handle: The block.
        kept: What stays; an empty `hidden` leaves the MLP alone.
        means: What the removed units give on average, to be folded into the biases behind them.
    """
    attn, width, total = handle.attn, handle.head_width, handle.heads
    if len(kept.heads) < total:
        if means is not None:
            fold_inputs(attn.proj, columns_of(_gone(kept.heads, total), width), means.heads)
        keep_heads(attn, kept.heads)
    if handle.mlp is not None and kept.hidden and len(kept.hidden) < handle.hidden:
        if means is not None:
            fold_inputs(handle.mlp.fc2, _gone(kept.hidden, handle.hidden), means.hidden)
        keep_outputs(handle.mlp.fc1, kept.hidden)
        keep_inputs(handle.mlp.fc2, kept.hidden)


def zeros_left(handle: BlockHandle, kept: Kept) -> dict[str, int]:
    """Pruned weights among those that stay when a block is cut, by the path of their layer."""
    attn, mlp, hidden = handle.attn, handle.mlp, torch.as_tensor(kept.hidden, dtype=torch.long)
    parts = [
        ("attn.qkv", attn.qkv, 0, rows_of(kept.heads, handle.head_width, handle.heads)),
        ("attn.proj", attn.proj, 1, columns_of(kept.heads, handle.head_width)),
    ]
    if mlp is not None:
        parts += [("mlp.fc1", mlp.fc1, 0, hidden), ("mlp.fc2", mlp.fc2, 1, hidden)]
    masks = [(name, mask_of(layer), dim, index) for name, layer, dim, index in parts]
    return {
        f"{handle.path}.{name}": int((~mask.index_select(dim, index)).sum())
        for name, mask, dim, index in masks
        if mask is not None
    }
