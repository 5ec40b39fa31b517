"""How a network wants its images: a plain value, computed by models and used by datasets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Side of the square input in pixels, mean and deviation per channel, share kept by the centre crop, resampling."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    interpolation: str = "bicubic"
