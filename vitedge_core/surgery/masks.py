"""Weights that were pruned one by one, and stay zero whatever trains the model afterwards.

A mask is a buffer of the layer it belongs to, so it is copied, moved and cut together with its weights. It is not part
of the state dict: a saved model holds plain zeros and loads into an ordinary layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

MASK = "kept_weights"  # bool, the shape of `weight`; false where a weight is pruned


def mask_of(layer: nn.Module) -> Tensor | None:
    """The layer's mask, or None when nothing of it was pruned."""
    return getattr(layer, MASK, None)


def masked_layers(model: nn.Module) -> Iterator[tuple[str, Any, Tensor]]:
    """Path, layer and mask of every layer with pruned weights."""
    for path, layer in model.named_modules():
        mask = mask_of(layer)
        if mask is not None:
            yield path, layer, mask


@torch.no_grad()
def set_mask(layer: Any, kept: Tensor) -> None:
    """Zero the weights where `kept` is false, and have them stay zero; in place."""
    if kept.shape != layer.weight.shape or kept.dtype != torch.bool:
        raise ValueError(f"a mask must be bool of shape {tuple(layer.weight.shape)}")
    layer.register_buffer(MASK, kept.clone(), persistent=False)
    layer.weight.masked_fill_(~kept, 0)


def cut_mask(layer: nn.Module, dim: int, index: Tensor) -> None:
    """Keep these rows (dim 0) or columns (dim 1) of the layer's mask, if it has one; in place."""
    mask = mask_of(layer)
    if mask is not None:
        layer.register_buffer(MASK, mask.index_select(dim, index), persistent=False)


def carry_mask(old: nn.Module, new: nn.Module) -> None:
    """Give the layer that replaces another one its mask; in place."""
    mask = mask_of(old)
    if mask is not None:
        new.register_buffer(MASK, mask, persistent=False)


@torch.no_grad()
def keep_zeros(model: nn.Module) -> None:
    """Set every pruned weight back to zero; in place. Training calls it after each step of the optimiser."""
    for _, layer, mask in masked_layers(model):
        layer.weight.masked_fill_(~mask, 0)
