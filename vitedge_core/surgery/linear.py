"""Physical removal of rows and columns of linear layers; masks of pruned weights are cut along with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitedge_core.surgery.masks import cut_mask


def _index(kept: Sequence[int] | Tensor, count: int, layer: nn.Linear) -> Tensor:
    index = torch.as_tensor(kept, dtype=torch.long, device=layer.weight.device)
    if index.numel() == 0 or int(index.min()) < 0 or int(index.max()) >= count:
        raise ValueError(f"cannot keep {index.tolist()[:8]} of {count} features")
    return index


def _parameter(values: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=like.requires_grad)


def keep_outputs(layer: nn.Linear, kept: Sequence[int] | Tensor) -> None:
    """Keep these outputs of a linear layer, in this order; in place.

    Args:
        layer: weight [outputs, inputs].
        kept: Numbers of the outputs that stay.
    """
    index = _index(kept, layer.out_features, layer)
    layer.weight = _parameter(layer.weight[index], layer.weight)
    if layer.bias is not None:
        layer.bias = _parameter(layer.bias[index], layer.bias)
    cut_mask(layer, 0, index)
    layer.out_features = len(index)


def keep_inputs(layer: nn.Linear, kept: Sequence[int] | Tensor) -> None:
    """Keep these inputs of a linear layer, in this order; in place. The caller narrows what feeds it."""
    index = _index(kept, layer.in_features, layer)
    layer.weight = _parameter(layer.weight[:, index], layer.weight)
    cut_mask(layer, 1, index)
    layer.in_features = len(index)


@torch.no_grad()
def fold_inputs(layer: nn.Linear, gone: Sequence[int] | Tensor, means: Tensor) -> None:
    """Add to the bias what inputs that are about to go contribute on average; in place. Without a bias nothing changes.

    Args:
        layer: weight [outputs, inputs].
        gone: Numbers of these inputs.
        means: Mean of every input, [inputs].
    """
    index = torch.as_tensor(gone, dtype=torch.long, device=layer.weight.device)
    if layer.bias is not None and index.numel():
        layer.bias.add_(layer.weight[:, index] @ means.to(layer.weight)[index])
