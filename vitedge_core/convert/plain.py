"""A copy of a compressed model in plain floats: where activations are float, rounded weights are mere numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.surgery.grid import Grid
from vitedge_core.surgery.replace import Quantised, quantised_layers


def own_copy(model: nn.Module) -> nn.Module:
    """The model again, in eval mode and without gradients, so that it can be rewritten; the other one stays."""
    return copy.deepcopy(model).eval().requires_grad_(requires_grad=False)


def in_floats(model: nn.Module) -> nn.Module:
    """A copy that computes the same with rounded weights written into the layers.

    Raises:
        VitEdgeError: Activations are rounded too, which no plain float layer does.
    """
    copied = own_copy(model)
    rounded = next(activation_grids(copied), None)
    if rounded is not None:
        raise VitEdgeError(
            f"{rounded[0]} rounds activations, which float layers cannot; choose an int8 engine or file, or leave the "
            "activations of the recipe in float."
        )
    for _, layer in quantised_layers(copied):
        write_rounded(layer)
    return copied


@torch.no_grad()
def write_rounded(layer: Quantised) -> None:
    """Put the rounded weight where the float one was, and take its grid away; in place."""
    layer.weight = nn.Parameter(layer.weight_grid(layer.weight).clone(), requires_grad=False)
    layer.weight_grid = nn.Identity()


def activation_grids(model: nn.Module) -> Iterator[tuple[str, Grid]]:
    """Path and grid of whatever rounds activations."""
    of_weights = {layer.weight_grid for _, layer in quantised_layers(model)}
    return ((path, part) for path, part in model.named_modules() if isinstance(part, Grid) and part not in of_weights)
