"""Intervals of a mean over images, by drawing the images anew.

Efron and Tibshirani, "An Introduction to the Bootstrap", Chapman and Hall 1993: percentile intervals (chapter 13) and
the bootstrap estimate of bias (chapter 10). The draws come from a fixed seed, so that a figure repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vitedge_core.evidence import Evidence, Quantity

RESAMPLES = 1_000
_AT_ONCE = 2**21  # values of one piece of the draws
ENDS = torch.tensor([0.025, 0.975], dtype=torch.float64)


def mean(values: Tensor, unit: str, source: str) -> Quantity:
    """The mean over images with its 95 % percentile interval.

    Args:
        values: [n], one for each image; for a difference, one difference for each image, which makes it paired.
        unit: Of the values.
        source: What was averaged over which images; how the interval was made is added.
    """
    return of(values[:, None], lambda drawn: drawn.double().mean(1)[:, 0], unit, source)


def ratio(over: Tensor, under: Tensor, source: str) -> Quantity:
    """Mean of `over` by mean of `under` [n] on the same images, with its 95 % percentile interval."""

    def statistic(drawn: Tensor) -> Tensor:
        means = drawn.double().mean(1)
        return means[:, 0] / means[:, 1].clamp_min(1e-12)

    return of(torch.stack([over, under], 1), statistic, "ratio", source)


def of(values: Tensor, statistic: Callable[[Tensor], Tensor], unit: str, source: str) -> Quantity:
    """Any statistic with its 95 % percentile interval.

    Args:
        values: [n, C], a row for each image.
        statistic: From rows of images [r, n, C] to [r].
        unit: Of the statistic.
        source: What it is.
    """
    value = float(statistic(values[None])[0])
    low, high = torch.quantile(draws(values, statistic), ENDS).tolist()
    told = f"{source}; 95 % bootstrap interval over the images"
    return Quantity(value, unit, Evidence.MEASURED, told, min(low, value), max(high, value))


def draws(values: Tensor, statistic: Callable[[Tensor], Tensor]) -> Tensor:
    """The statistic of `RESAMPLES` draws of n rows out of n with replacement, float64 [RESAMPLES]."""
    return torch.cat([statistic(values[rows]).double() for rows in _rows(len(values))])


def _rows(n: int) -> Iterator[Tensor]:
    """Numbers of the rows that are drawn, in pieces [r, n] of a bearable size."""
    generator = torch.Generator().manual_seed(0)
    piece = max(1, _AT_ONCE // n)
    for start in range(0, RESAMPLES, piece):
        yield torch.randint(n, (min(piece, RESAMPLES - start), n), generator=generator)
