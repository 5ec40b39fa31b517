"""Does a map point at the object? Exact masks decide.

The pointing game: Zhang et al., "Top-Down Neural Attention by Excitation Backprop", ECCV 2016, arXiv:1608.00507,
section 4.1. Here without their tolerance of 15 pixels: the point must lie on the object itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hits(maps: Tensor, masks: Tensor) -> Tensor:
    """Whether the brightest point of each map, enlarged to the image, lies on the object, bool [n].

    Args:
        maps: [n, h, w].
        masks: [n, height, width] bool, the objects.
    """
    large = F.interpolate(maps[:, None], tuple(masks.shape[-2:]), mode="bilinear", align_corners=False).flatten(1)
    return masks.flatten(1).gather(1, large.argmax(1, keepdim=True))[:, 0]


def mass_inside(maps: Tensor, masks: Tensor) -> Tensor:
    """Share of each map that falls on the object; a patch that the object covers in part counts in part, [n].

    Args:
        maps: [n, h, w], not negative.
        masks: [n, height, width] bool.
    """
    covered = F.adaptive_avg_pool2d(masks[:, None].float(), (maps.shape[1], maps.shape[2]))[:, 0]
    return (maps * covered).sum((1, 2)) / maps.sum((1, 2)).clamp_min(torch.finfo(maps.dtype).tiny)


def area(masks: Tensor) -> Tensor:
    """Share of each image that its object covers, [n]: what a map would score that knows nothing of the image."""
    return masks.float().mean((1, 2))
