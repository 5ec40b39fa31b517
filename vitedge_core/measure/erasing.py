"""Deletion and insertion: whether what a map calls important matters to the model.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
arXiv:1806.07421, section 4.3. Patches are taken out in the order of the map, most important first, and replaced by the
mean colour (deletion), or put back into a blurred image (insertion); the probability of the class that the model named
for the whole image is followed. A random order of the same patches says what the curves are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

STEPS = 8  # equal parts in which the patches go
BLUR = 1 / 8  # deviation of the blur as a share of the image's side: the object can no longer be recognised


@dataclass(frozen=True, slots=True)
class Erased:
    """Probabilities of each model's own first answer, [n, STEPS + 1] from none to all patches taken out or put back.

    The first two follow the map, the other two a random order.
    """

    deletion: Tensor
    insertion: Tensor
    random_deletion: Tensor
    random_insertion: Tensor


def erase(model: nn.Module, images: Tensor, maps: Tensor, generator: torch.Generator,
          tick: Callable[[float], None] = lambda share: None) -> Erased:  # fmt: skip
    """Follow a model's confidence while the patches of images go and come.

    Args:
        model: A classifier in eval mode.
        images: [n, 3, height, width], normalised, so that zero is the mean colour.
        maps: [n, h, w], what decides the order.
        generator: Draws the random order.
        tick: Told the share that is done; may raise to stop.
    """
    order = maps.flatten(1).sort(dim=1, descending=True, stable=True).indices
    chance = torch.rand(order.shape, generator=generator).argsort(1)
    grey, blurred = torch.zeros_like(images), _blurred(images)
    with torch.inference_mode():
        ends = [model(version).softmax(-1) for version in (images, grey, blurred)]
        named = ends[0].argmax(1, keepdim=True)
        whole, gone, vague = (probability.gather(1, named)[:, 0] for probability in ends)
        curves = []
        for number, (ranks, filler, starts_full) in enumerate(
            [(order, grey, True), (order, blurred, False), (chance, grey, True), (chance, blurred, False)]
        ):
            tick(number / 4)
            inner = [
                _confidence(model, _mixed(images, filler, ranks, maps.shape[1:], step, starts_full=starts_full), named)
                for step in range(1, STEPS)
            ]
            first, last = (whole, gone) if starts_full else (vague, whole)
            curves.append(torch.stack([first, *inner, last], 1))
    return Erased(*(curve.clone() for curve in curves))


def area_under(curves: Tensor) -> Tensor:
    """Area under each curve [n, STEPS + 1] over the share of patches, by trapezoids, [n]."""
    return (curves[:, 1:] + curves[:, :-1]).mean(1) / 2


def _confidence(model: nn.Module, images: Tensor, named: Tensor) -> Tensor:
    return model(images).softmax(-1).gather(1, named)[:, 0]


def _mixed(
    images: Tensor, filler: Tensor, ranks: Tensor, grid: Sequence[int], step: int, *, starts_full: bool
) -> Tensor:  # fmt: skip
    """The images with the first `step` of `STEPS` parts of the patches taken out, or only these put in."""
    count = round(ranks.shape[1] * step / STEPS)
    chosen = torch.zeros(ranks.shape).scatter_(1, ranks[:, :count], 1.0).unflatten(1, tuple(grid))
    chosen = F.interpolate(chosen[:, None], tuple(images.shape[-2:]), mode="nearest")
    shown = 1 - chosen if starts_full else chosen
    return images * shown + filler * (1 - shown)


def _blurred(images: Tensor) -> Tensor:
    deviation = images.shape[-1] * BLUR
    reach = min(2 * round(2 * deviation), images.shape[-1] - 2) // 2
    return gaussian_blur(images, [2 * reach + 1] * 2, [deviation] * 2)
