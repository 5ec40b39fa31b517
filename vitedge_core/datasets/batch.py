"""A few images, ready for a network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """images: [B, 3, height, width] normalised; labels: [B]; masks: [B, height, width] bool where the set has them."""

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None
