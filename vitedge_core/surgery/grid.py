"""Quantisation grids: a scale, a zero point and a number of bits, and the rules that find them.

x^ = s * (clamp(round(x / s) + z, low, high) - z), as in Gholami et al., "A Survey of Quantization Methods for Efficient
Neural Network Inference", 2021, arXiv 2103.13630, section III. Zero is always on the grid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

FLOAT = 32  # the number of bits that means "leave it alone"
SYMMETRIC, AFFINE = "symmetric", "affine"
MINMAX, PERCENTILE, MSE = "minmax", "percentile", "mse"
OBSERVERS = (MINMAX, PERCENTILE, MSE)
PERCENT = 0.9999  # share of the values that the percentile observer keeps on either side
SHRINKS = 40  # ranges the mse observer tries: 100 %, 98 %, ..., 22 % of the full one
SAMPLE = 2**18  # activations of a tensor that the percentile observer looks at
FEWER = 2**16  # and that the mse observer looks at, which looks many times


class Scale(NamedTuple):
    """Step and zero point of one tensor, or of each of its rows."""

    step: Tensor
    zero: Tensor


def limits(bits: int, scheme: str) -> tuple[int, int]:
    """Lowest and highest code: 0 to 2^b - 1 when affine, -2^(b-1) to 2^(b-1) - 1 when symmetric."""
    return (0, 2**bits - 1) if scheme == AFFINE else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def spread(low: Tensor, high: Tensor, bits: int, scheme: str) -> Scale:
    """The grid that covers low to high, extended to hold zero.

    Args:
        low: Lower ends of the ranges, [G].
        high: Upper ends, [G].
        bits: 2 to 16.
        scheme: "symmetric" (zero point 0) or "affine".
    """
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    span, steps = (high - low, 2**bits - 1) if scheme == AFFINE else (torch.maximum(-low, high), 2 ** (bits - 1) - 1)
    step = span / steps
    step = torch.where(step > 0, torch.maximum(step, 2**-24 * high.clamp(min=1.0)), torch.ones_like(step))
    zero = (-low / step).round().clamp(0, 2**bits - 1) if scheme == AFFINE else torch.zeros_like(step)
    return Scale(step, zero)


def fit(values: Tensor, bits: int, scheme: str, observer: str, ends: tuple[Tensor, Tensor] | None = None) -> Scale:
    """Choose the grid of each row.

    Args:
        values: [G, n]; a row for each grid, such as an output channel.
        bits: 2 to 16.
        scheme: "symmetric" or "affine".
        observer: "minmax" covers all values, "percentile" all but 0.01 % on either side, "mse" tries ever smaller
            ranges and takes the one of the smallest mean squared error (never worse than minmax, which is among them).
        ends: Known smallest and largest value of each row [G], where `values` is a sample.

    Returns:
        Steps and zero points, [G].
    """
    low, high = ends or (values.amin(1), values.amax(1))
    if observer == PERCENTILE:
        low, high = _quantiles(values)
    if observer != MSE:
        return spread(low, high, bits, scheme)
    best = spread(low, high, bits, scheme)
    smallest = _errors(values, best, bits, scheme)
    for shrink in range(1, SHRINKS):
        share = 1 - 0.02 * shrink
        scale = spread(low * share, high * share, bits, scheme)
        error = _errors(values, scale, bits, scheme)
        better = error < smallest
        smallest = torch.where(better, error, smallest)
        best = Scale(torch.where(better, scale.step, best.step), torch.where(better, scale.zero, best.zero))
    return best


def _quantiles(values: Tensor) -> tuple[Tensor, Tensor]:
    """The outer quantiles of each row, interpolated; `torch.quantile` would refuse more than 2**24 values."""
    ordered = values.sort(dim=1).values
    place = PERCENT * (values.shape[1] - 1)
    below = int(place)
    above = min(below + 1, values.shape[1] - 1)
    low = torch.lerp(ordered[:, -1 - below], ordered[:, -1 - above], place - below)
    return low, torch.lerp(ordered[:, below], ordered[:, above], place - below)


def _errors(values: Tensor, scale: Scale, bits: int, scheme: str) -> Tensor:
    """Mean squared error of each row on the grid, [G]."""
    low, high = limits(bits, scheme)
    step, zero = scale.step.unsqueeze(1), scale.zero.unsqueeze(1)
    on_grid = (values / step).round_().add_(zero).clamp_(low, high).sub_(zero).mul_(step)
    return on_grid.sub_(values).square_().mean(1)


class Grid(nn.Module):
    """Rounds what passes to the nearest of 2^bits values, in float: accuracy is that of the integers, speed is not.

    Gradients pass straight through inside the range and stop outside it (Bengio et al., 2013, arXiv 1308.3432), so that
    a quantised model can be trained. Scale and zero point are buffers; a zero point is a whole number kept as a float.
    """

    step: Tensor
    zero: Tensor

    def __init__(self, scale: Scale, bits: int, scheme: str) -> None:
        super().__init__()
        self.register_buffer("step", scale.step)
        self.register_buffer("zero", scale.zero)
        self.bits, self.scheme = bits, scheme
        self.low, self.high = limits(bits, scheme)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that the scale broadcasts to; the same shape on the grid."""
        scaled = x / self.step
        if scaled.requires_grad:
            rounded = scaled + (scaled.round() - scaled).detach() + self.zero
            return (rounded.clamp(self.low, self.high) - self.zero) * self.step
        return self._codes_in_place(scaled).sub_(self.zero).mul_(self.step)

    def _codes_in_place(self, scaled: Tensor) -> Tensor:
        """In one piece of memory, and clamped to plain numbers, for speed."""
        return scaled.round_().add_(self.zero).clamp_(self.low, self.high)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Integers from 0 to 2^bits - 1, as a file stores them: the code minus the lowest one; int64."""
        return (self._codes_in_place(x / self.step) - self.low).long()

    @torch.no_grad()
    def values(self, codes: Tensor) -> Tensor:
        """What `codes` stand for; its inverse on the grid."""
        return ((codes + self.low) - self.zero) * self.step

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"bits={self.bits}, {self.scheme}, grids={self.step.numel()}"


class Watch(nn.Module):
    """Stands where a grid will stand and notes what passes: the exact ends, and a sample of at most `SAMPLE` values."""

    def __init__(self, generator: torch.Generator, parts: int) -> None:
        super().__init__()
        self._generator = generator
        self._share = max(1, SAMPLE // parts)  # of the sample, for each of the batches to come
        self._low: Tensor | None = None
        self._high: Tensor | None = None
        self._sample: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Return what came, untouched."""
        flat = x.detach().flatten()
        low, high = flat.aminmax()
        self._low = low if self._low is None else torch.minimum(self._low, low)
        self._high = high if self._high is None else torch.maximum(self._high, high)
        if len(flat) > self._share:
            flat = flat[torch.randint(len(flat), (self._share,), generator=self._generator)]
        self._sample.append(flat.clone())
        return x

    def grid(self, bits: int, scheme: str, observer: str) -> Grid | None:
        """The grid for what passed; None if nothing did."""
        if self._low is None or self._high is None:
            return None
        ends = (self._low.reshape(1), self._high.reshape(1))
        sample = torch.cat(self._sample)
        if observer == MSE:
            sample = sample[:: max(1, len(sample) // FEWER)]
        step, zero = fit(sample.unsqueeze(0), bits, scheme, observer, ends)
        return Grid(Scale(step.squeeze(0), zero.squeeze(0)), bits, scheme)
