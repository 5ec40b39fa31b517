"""How much whole heads and MLP neurons matter: by the size of their weights, or by what a loss loses without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedge_core.surgery.capture import inputs_and_outputs_of, inputs_of
from vitedge_core.surgery.host import BlockHandle
from vitedge_core.surgery.structure import Inner, batches, inner_layers


@torch.no_grad()
def magnitudes(handles: Sequence[BlockHandle], order: int) -> list[Inner]:
    """Norm of the weights that belong to each head and each neuron, one entry per block: [H] and [M].

    A head owns its rows of `qkv` and columns of `proj`, a neuron its row of `fc1` and column of `fc2`, biases included.

    Args:
        handles: The blocks.
        order: 1 or 2, of the norm.
    """
    return [Inner(_head_norms(h, order), _hidden_norms(h, order)) for h in handles]


def _power(weight: Tensor, order: int) -> Tensor:
    return weight.abs() if order == 1 else weight.square()


def _head_norms(handle: BlockHandle, order: int) -> Tensor:
    qkv, proj, heads = handle.attn.qkv, handle.attn.proj, handle.heads
    rows = _power(qkv.weight, order).sum(1)
    if qkv.bias is not None:
        rows = rows + _power(qkv.bias, order)
    total = rows.view(3, heads, -1).sum((0, 2)) + _power(proj.weight, order).sum(0).view(heads, -1).sum(1)
    return total.pow(1 / order)


def _hidden_norms(handle: BlockHandle, order: int) -> Tensor:
    if handle.mlp is None:
        return torch.zeros(0)
    fc1, fc2 = handle.mlp.fc1, handle.mlp.fc2
    total = _power(fc1.weight, order).sum(1) + _power(fc2.weight, order).sum(0)
    if fc1.bias is not None:
        total = total + _power(fc1.bias, order)
    return total.pow(1 / order)


def taylor(
    model: nn.Module,
    handles: Sequence[BlockHandle],
    images: Tensor,
    labels: Tensor,
    *,
    means: Sequence[Inner] | None = None,
    tick: Callable[[float], None] = lambda share: None,
) -> list[Inner]:
    """Mean over images of |change of the loss when a unit is switched off|, to first order; [H] and [M] per block.

    The gate of Michel et al. (2019), eq. 2: the sum over tokens (and head dimensions) of activation times gradient. If
    `means` are given, a unit is not replaced by zero but by its mean, as the compensation does.

    Args:
        model: Left as it is, without gradients.
        handles: Its blocks.
        images: [n, 3, height, width].
        labels: [n].
        means: What takes the place of a removed unit.
        tick: Called before each batch with the share done; may raise to stop.
    """
    layers = inner_layers(handles)
    centres = _by_layer(handles, means) if means is not None else {}
    widths = {h.attn.proj: h.head_width for h in handles}
    scores = {layer: torch.zeros(layer.in_features // widths.get(layer, 1), dtype=torch.float64) for layer in layers}
    with inputs_of(layers, gradients=True) as seen, torch.enable_grad():
        for part in batches(images, tick):
            loss = F.cross_entropy(model(images[part]), labels[part], reduction="sum")
            values = [seen[layer] for layer in layers]
            for layer, value, slope in zip(layers, values, torch.autograd.grad(loss, values), strict=True):
                change = (value.detach() - centres.get(layer, 0)) * slope
                per_image = change.reshape(len(labels[part]), -1, value.shape[-1]).sum(1)
                units = per_image.unflatten(1, (-1, widths.get(layer, 1))).sum(2)
                scores[layer] += units.abs().sum(0, dtype=torch.float64)
    nothing = torch.zeros(0)
    found = {layer: (score / len(images)).float() for layer, score in scores.items()}
    return [Inner(found[h.attn.proj], found[h.mlp.fc2] if h.mlp is not None else nothing) for h in handles]


def _by_layer(handles: Sequence[BlockHandle], means: Sequence[Inner]) -> dict[nn.Module, Tensor]:
    pairs = zip(handles, means, strict=True)
    return {
        layer: mean
        for h, m in pairs
        for layer, mean in ((h.attn.proj, m.heads), (h.mlp.fc2 if h.mlp is not None else None, m.hidden))
        if layer is not None
    }


@torch.no_grad()
def influences(
    model: nn.Module, handles: Sequence[BlockHandle], images: Tensor, tick: Callable[[float], None] = lambda share: None
) -> Tensor:
    """How much each block turns its tokens: 1 - cosine of what enters and what leaves, averaged, [L].

    Block influence of Men et al. (2024), eq. 1.

    Args:
        model: Left as it is.
        handles: Its blocks.
        images: [n, 3, height, width].
        tick: Called before each batch with the share done; may raise to stop.
    """
    total = torch.zeros(len(handles), dtype=torch.float64)
    with inputs_and_outputs_of(h.block for h in handles) as seen:
        for part in batches(images, tick):
            count = len(model(images[part]))
            likeness = [F.cosine_similarity(*seen[h.block], dim=-1).mean(dtype=torch.float64) for h in handles]
            total += count * (1 - torch.stack(likeness))
    return (total / len(images)).float()
