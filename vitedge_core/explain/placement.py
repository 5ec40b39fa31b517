"""Where the tokens of a block lie: windows stitched to the whole image, pooled keys carried back to their patches.

Windows: Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030. Pooled keys ("spatial reduction"): Wang et al.,
"PVT v2: Improved Baselines with Pyramid Vision Transformer", CVMJ 2022, arXiv:2106.13797.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.davit import ChannelAttention
from timm.models.edgenext import CrossCovarianceAttn
from timm.models.gcvit import GlobalContextVitBlock
from timm.models.mobilevit import LinearSelfAttention
from timm.models.tiny_vit import TinyVitBlock
from timm.models.twins import LocallyGroupedAttn
from timm.models.xcit import XCA
from torch import Tensor, nn

from vitedge_core.explain.attention import BlockAttention
from vitedge_core.explain.fate import Fate

NOTHING = "This model has no softmax attention, so there is no map of where it looks."
CHANNELS = "This model's attention mixes channels, not places, so there is no map of where it looks."
SEVERAL = "This model's attention mixes several softmaxes in one block, so no single map says where it looks."
STRANGE = (
    "This model's attention is not from every token to every token of a grid, but split, pooled or gathered in a way "
    "that has no map here."
)
HIDDEN = "This model attends inside parts that are not known here, so there is no map of where it looks."
WINDOWS = "This model cuts its grid into windows of a kind that cannot be stitched to one map."
NO_GRID = "The tokens of this model form no grid over the image, so there is no map of them."
_OVER_CHANNELS = (XCA, ChannelAttention, CrossCovarianceAttn)
_UNSHIFTED = (TinyVitBlock, GlobalContextVitBlock)


class UnmappableError(Exception):
    """There is attention, but no map of it; the text says why. It never leaves this package."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a block.

    path, block, attn: the modules. entered: its input, [1, N, D], [1, h, w, D] or [1, D, h, w]. weights:
    [G, H, n, m]; gradients: the same or None.
    """

    path: str
    block: nn.Module
    attn: nn.Module
    entered: Tensor
    weights: Tensor
    gradients: Tensor | None = None


def why_nothing(model: nn.Module, elsewhere: int) -> str:
    """Why not one block can be mapped; `elsewhere` is how often attention was computed outside of known blocks."""
    if any(isinstance(module, _OVER_CHANNELS) for module in model.modules()):
        return CHANNELS
    return HIDDEN if elsewhere else NOTHING


def check(looks: list[tuple[nn.Module, int]]) -> None:
    """Whether attention modules that computed so many softmaxes can be mapped at all.

    Raises:
        UnmappableError: They mix channels, or several softmaxes.
    """
    if any(isinstance(attn, _OVER_CHANNELS) for attn, _ in looks):
        raise UnmappableError(CHANNELS)
    if any(count > 1 for _, count in looks):
        raise UnmappableError(SEVERAL)


def unfolded(look: Look) -> Look:
    """MobileViT V2's separable attention, in which all queries share one row, with that row for each of them.

    Mehta and Rastegari, "Separable Self-attention for Mobile Vision Transformers", TMLR 2023, arXiv:2206.02680: of the
    input [1, D, p, n], with p pixels in each of n patches, pixels in the same place of their patch share n scores.
    """
    if not isinstance(look.attn, LinearSelfAttention):
        return look
    scores = look.weights[0, 0][:, None, None]  # [p, 1, 1, n]
    patches = scores.shape[-1]
    entered = look.entered[0].permute(1, 2, 0)
    return replace(look, entered=entered, weights=scores.expand(-1, -1, patches, -1), gradients=None)


def plain(look: Look, fate: Fate) -> BlockAttention:
    """A block in which every one of `fate.tokens` tokens attends to every one."""
    if look.weights.shape[0] != 1 or look.weights.shape[2:] != (fate.tokens, fate.tokens):
        raise UnmappableError(STRANGE)
    return BlockAttention(look.path, look.weights, torch.arange(fate.tokens)[None], fate, gradients=look.gradients)


def on_grid(look: Look, first: tuple[int, int]) -> BlockAttention:
    """A block of a network whose grid of tokens coarsens from `first`: windows, pooled keys, or all tokens."""
    side = side_of(look)
    if side[0] > first[0] or side[1] > first[1]:
        raise UnmappableError(STRANGE)
    fate = Fate.pooled(first, side)
    places, keys = torch.arange(fate.tokens)[None], None
    if (window := _window(look)) is not None:
        places = windows(side, *window)
    elif look.entered.ndim == 3 and look.entered.shape[0] > 1:
        places = _comb(side, look.entered.shape[0])
    elif look.weights.shape[-1] != fate.tokens:
        keys = _pooled_keys(look.attn, side)
    columns = places.shape[1] if keys is None else len(keys)
    if look.weights.shape[0] != len(places) or look.weights.shape[2:] != (places.shape[1], columns):
        raise UnmappableError(WINDOWS if window else STRANGE)
    return BlockAttention(look.path, look.weights, places, fate, keys, look.gradients)


def side_of(look: Look) -> tuple[int, int]:
    """Rows and columns of the tokens that enter a block."""
    shape = look.entered.shape
    if len(shape) == 3:
        side = math.isqrt(shape[0] * shape[1])
        if side * side != shape[0] * shape[1]:
            raise UnmappableError(NO_GRID)
        return side, side
    last, first = (shape[1], shape[2]), (shape[2], shape[3])
    return last if _window(look) is not None or math.prod(last) == look.weights.shape[-2] else first


def first_grid(model: Any, first: Look) -> tuple[int, int]:
    """Rows and columns of the patches: as the patch embedding made them, even if their own blocks were removed."""
    side, known = side_of(first), getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if known is None or known[0] % side[0] or known[1] % side[1]:
        return side
    return int(known[0]), int(known[1])


def windows(side: tuple[int, int], size: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """The token in every place of every window, [G, n], as Swin rolls, pads and cuts its grid; -1 is padding."""
    (height, width), (rows, columns), (down, right) = side, size, shift
    grid = torch.arange(height * width).view(height, width).roll((-down, -right), (0, 1))
    grid = F.pad(grid, (0, -width % columns, 0, -height % rows), value=-1)
    cut = grid.unflatten(0, (-1, rows)).unflatten(2, (-1, columns))  # [window rows, rows, window columns, columns]
    return cut.transpose(1, 2).flatten(2).flatten(0, 1)


def _comb(side: tuple[int, int], pixels: int) -> Tensor:
    """The token in every place of every group, [p, n], where pixels in the same place of their patch form a group.

    Mehta and Rastegari, "MobileViT", ICLR 2022, arXiv:2110.02178, section 3.1.
    """
    patch = math.isqrt(pixels)
    if patch * patch != pixels or side[0] % patch or side[1] % patch:
        raise UnmappableError(NO_GRID)
    grid = torch.arange(side[0] * side[1]).view(side[0] // patch, patch, side[1] // patch, patch)
    return grid.permute(1, 3, 0, 2).flatten(2).flatten(0, 1)


def _window(look: Look) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Size and shift of a block's windows; None where it has none."""
    if isinstance(look.attn, LocallyGroupedAttn):
        return _pair(look.attn.ws), (0, 0)
    size, shift = getattr(look.block, "window_size", None), getattr(look.block, "shift_size", None)
    if size is None or (shift is None and not isinstance(look.block, _UNSHIFTED)):
        return None
    return _pair(size), _pair(shift or 0)


def _pooled_keys(attn: Any, side: tuple[int, int]) -> Tensor:
    """Which tokens of the grid each pooled key was made from, [m, h * w] in shares."""
    pool, reduction = getattr(attn, "pool", None), getattr(attn, "sr", None)
    if isinstance(pool, nn.AdaptiveAvgPool2d):
        return _covered(side, None, _pair(pool.output_size))
    if isinstance(reduction, nn.Conv2d) and reduction.kernel_size == reduction.stride:
        return _covered(side, _pair(reduction.kernel_size), None)
    raise UnmappableError(STRANGE)


@lru_cache(maxsize=32)
def _covered(side: tuple[int, int], cell: tuple[int, int] | None, grid: tuple[int, int] | None) -> Tensor:
    """Shares of tokens in keys pooled by cells of a size, or into a grid of a size, [m, h * w]."""
    each = torch.eye(side[0] * side[1]).view(-1, 1, *side)
    pooled = F.avg_pool2d(each, cell) if cell else F.adaptive_avg_pool2d(each, grid or side)
    return pooled.flatten(1).T.contiguous()


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))
