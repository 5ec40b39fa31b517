"""Layers that compute on quantisation grids, in the place of the float layers they stand for.

They are subclasses with the same parameters, so module paths, training and whatever looks for linear layers keep
working. The float weights stay underneath and are rounded in every pass: training moves them, the grid stays.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from timm.layers.linear import Linear as TimmLinear
from torch import Tensor, nn

from vitedge_core.surgery.grid import Grid
from vitedge_core.surgery.masks import carry_mask


class QuantLinear(nn.Linear):
    """A linear layer whose input and weight pass a grid each; `Identity` where one stays in float."""

    def __init__(self, host: nn.Linear) -> None:
        nn.Module.__init__(self)  # the parameters are the host's: none are allocated
        self.in_features, self.out_features = host.in_features, host.out_features
        self.weight, self.bias = host.weight, host.bias
        self.input_grid: nn.Module = nn.Identity()
        self.weight_grid: nn.Module = nn.Identity()
        carry_mask(host, self)
        self.train(host.training)

    def forward(self, input: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return F.linear(self.input_grid(input), self.weight_grid(self.weight), self.bias)


class QuantConv(nn.Conv2d):
    """A convolution whose input and weight pass a grid each; `Identity` where one stays in float."""

    def __init__(self, host: nn.Conv2d) -> None:
        nn.Module.__init__(self)
        for name in _CONVOLUTION:
            setattr(self, name, getattr(host, name))
        self.weight, self.bias = host.weight, host.bias
        self.input_grid: nn.Module = nn.Identity()
        self.weight_grid: nn.Module = nn.Identity()
        carry_mask(host, self)
        self.train(host.training)

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, height, width] -> [B, C', height', width']."""
        return self._conv_forward(self.input_grid(input), self.weight_grid(self.weight), self.bias)


_CONVOLUTION = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "transposed", "output_padding",
    "groups", "padding_mode", "_reversed_padding_repeated_twice",
)  # fmt: skip
Quantised = QuantLinear | QuantConv


def takes_grids(layer: nn.Module) -> bool:
    """Whether it is a plain linear layer or a plain 2-d convolution; relatives that compute otherwise are not."""
    return isinstance(layer, Quantised) or type(layer) in {nn.Linear, TimmLinear, nn.Conv2d}


def with_grids(layer: nn.Module) -> QuantLinear | QuantConv | None:
    """The layer with places for grids; None when it does not take any."""
    if isinstance(layer, Quantised) or not takes_grids(layer):
        return layer if isinstance(layer, Quantised) else None
    return QuantLinear(layer) if isinstance(layer, nn.Linear) else QuantConv(layer)  # type: ignore[arg-type]


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module where another one is; in place."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def quantised_layers(model: nn.Module) -> Iterator[tuple[str, QuantLinear | QuantConv]]:
    """Path and layer of everything here that has places for grids."""
    return ((path, module) for path, module in model.named_modules() if isinstance(module, Quantised))


def grids(model: nn.Module) -> Iterator[tuple[str, Grid]]:
    """Path and grid of everything that is rounded in the model."""
    return ((path, module) for path, module in model.named_modules() if isinstance(module, Grid))
