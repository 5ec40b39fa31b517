"""Watching a model attend: one forward pass, and the attention probabilities of every block.

Fused attention never holds its probabilities, so they are recomputed from the very queries, keys and masks that the
model hands to the product: whatever scales, normalises, biases or quantises them is honoured without knowing about it.
The observed model is never touched; a shell that shares its weights runs in its place.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitedge_core.explain.attention import BlockAttention, Observation
from vitedge_core.explain.fate import Fate
from vitedge_core.surgery.capture import inputs_of
from vitedge_core.surgery.tokens import MergingBlocks, Tokens, merging_blocks


def observe(model: nn.Module, image: Tensor) -> Observation:
    """Run a classifier on one image and note its attention.

    Args:
        model: Any timm classifier, compressed or not; it is neither changed nor hooked.
        image: [1, 3, height, width], normalised for the model.

    Returns:
        The observation; without blocks, and with a note that says why, where no map of attention exists.
    """
    shell = _shell(model).eval()
    blocks = {path: m for path, m in shell.named_modules() if isinstance(getattr(m, "attn", None), nn.Module)}
    attentions: list[nn.Module] = [block.attn for block in blocks.values()]  # type: ignore[misc]
    merging = merging_blocks(shell)
    outer = [*blocks.values(), *([merging] if merging is not None else [])]
    with torch.no_grad():
        with inputs_of(outer) as entered, inputs_of(attentions) as into_attention, _Watch(into_attention) as watch:
            logits = shell(image)[0].float()
        looks = _looks(blocks, entered, watch.seen)
        if not looks:
            return Observation(logits, note=_NOTHING)
        try:
            if looks[0].entered.ndim == 4:
                return _hierarchical(logits, looks)
            return _plain(shell, logits, looks, _merges(merging, entered))
        except _Unmappable as reason:
            return Observation(logits, note=str(reason))


class _Unmappable(Exception):  # noqa: N818  it is a reason, and never leaves this file
    """There is attention, but no map of it; the text says why."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of a block: its path, the block, its input [1, N, D] or [1, h, w, D], the probabilities."""

    path: str
    block: nn.Module
    entered: Tensor
    weights: Tensor


class _Watch(TorchFunctionMode):
    """Probabilities of the first softmax over tokens after an attention module was entered, by module.

    A function mode sees the calls of its own thread only.
    """

    def __init__(self, entered: Mapping[nn.Module, Tensor]) -> None:
        super().__init__()
        self.entered = entered
        self.seen: dict[nn.Module, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the call as it is, and keep a copy of the probabilities."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        module = next(reversed(list(self.entered)), None)
        if module is None or module in self.seen:
            return result
        if func is F.scaled_dot_product_attention:
            self.seen[module] = _unfused(*args, **kwargs)
        elif func in _SOFTMAX and result.ndim == 4:
            self.seen[module] = result.detach().clone()
        return result


_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


def _unfused(  # noqa: PLR0917  the order of arguments is torch's
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, **_: object,
) -> Tensor:  # fmt: skip
    """The probabilities inside `scaled_dot_product_attention` of these arguments, [B, H, N, M]."""
    scores = query @ key.mT * (scale if scale is not None else query.shape[-1] ** -0.5)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    return scores.softmax(-1)


def _shell(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares every tensor with the original: hooks on it are seen by nobody else."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)


def _looks(
    blocks: Mapping[str, nn.Module], entered: Mapping[nn.Module, Tensor], seen: Mapping[nn.Module, Tensor]
) -> list[_Look]:
    return [
        _Look(path, block, _values(entered[block]), seen[block.attn].float())  # type: ignore[index]
        for path, block in blocks.items()
        if block.attn in seen and block in entered
    ]


def _values(entered: Tensor | Tokens) -> Tensor:
    """The tokens themselves; a block that merges is handed their sizes as well."""
    return entered.values if isinstance(entered, Tokens) else entered


def _merges(merging: MergingBlocks | None, entered: Mapping[nn.Module, Tensor]) -> list[Fate]:
    """What the original tokens belong to after each block of a model that merges; empty for any other."""
    if merging is None or merging not in entered:
        return []
    passed = merging.trail(entered[merging])
    return [Fate(t.owners[0], t.values.shape[1]) for t in passed if t.owners is not None]


def _plain(model: nn.Module, logits: Tensor, looks: list[_Look], merges: list[Fate]) -> Observation:
    """Every token attends to every token, [1, N, D] all the way."""
    tokens = looks[0].entered.shape[1]
    grid = _grid(model, tokens)
    prefix = tokens - grid[0] * grid[1]
    reader, name = _reader(model, tokens, prefix)
    fates = [Fate.untouched(tokens), *(merges or [Fate.untouched(tokens)] * len(looks))]
    for look, fate in zip(looks, fates, strict=False):
        if look.weights.shape[0] != 1 or not look.weights.shape[-1] == look.weights.shape[-2] == fate.tokens:
            raise _Unmappable(_STRANGE)
    blocks = tuple(
        BlockAttention(look.path, look.weights, torch.arange(fate.tokens)[None], fate)
        for look, fate in zip(looks, fates, strict=False)
    )
    return Observation(logits, blocks, grid, prefix, fates[len(looks)], reader, name)


_NOTHING = "This model has no softmax attention, so there is no map of where it looks."
_STRANGE = "This model's attention is not from token to token (keys are pooled, or tokens gathered), so it has no map."


def _grid(model: nn.Module, tokens: int) -> tuple[int, int]:
    """Rows and columns of patches among the tokens."""
    known = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if known is not None and 0 < known[0] * known[1] <= tokens:
        return int(known[0]), int(known[1])
    patches = tokens - int(getattr(model, "num_prefix_tokens", 0))
    side = math.isqrt(max(patches, 0))
    if side * side != patches:
        raise _Unmappable("The tokens of this model form no grid over the image, so there is no map of them.")
    return side, side


def _reader(model: nn.Module, tokens: int, prefix: int) -> tuple[Tensor, str]:
    """Shares of the tokens that the classifier reads, [P], and their name."""
    reader = torch.zeros(tokens)
    by_class_token = getattr(model, "global_pool", "token") in {"token", ""}
    if prefix and by_class_token and getattr(model, "cls_token", None) is not None:
        distilled = getattr(model, "dist_token", None) is not None
        reader[: 2 if distilled else 1] = 0.5 if distilled else 1.0
        return reader, "class and distillation token" if distilled else "class token"
    reader[prefix:] = 1 / (tokens - prefix)
    return reader, "average patch"


def _hierarchical(logits: Tensor, looks: list[_Look]) -> Observation:
    """Windows on a grid that coarsens from stage to stage, [1, h, w, D]: Swin."""
    first = _side(looks[0])
    blocks = tuple(
        BlockAttention(look.path, look.weights, _places(look), Fate.pooled(first, _side(look))) for look in looks
    )
    patches = first[0] * first[1]
    reader = torch.full((patches,), 1 / patches)
    return Observation(logits, blocks, first, 0, blocks[-1].fate, reader, "average patch")


def _side(look: _Look) -> tuple[int, int]:
    if look.entered.ndim != 4:
        raise _Unmappable("This model mixes grids and rows of tokens, which have no common map.")
    return look.entered.shape[1], look.entered.shape[2]


def _places(look: _Look) -> Tensor:
    """The token in every place of every window, [G, n], as Swin rolls, pads and cuts its grid (arXiv:2103.14030)."""
    height, width = _side(look)
    window, shift = getattr(look.block, "window_size", None), getattr(look.block, "shift_size", None)
    if window is None or shift is None:
        raise _Unmappable("This model cuts its grid into windows of a kind that cannot be stitched to one map.")
    (rows, columns), (down, right) = (_pair(window), _pair(shift))
    grid = torch.arange(height * width).view(height, width).roll((-down, -right), (0, 1))
    grid = F.pad(grid, (0, -width % columns, 0, -height % rows), value=-1)
    cut = grid.unflatten(0, (-1, rows)).unflatten(2, (-1, columns))  # [window rows, rows, window columns, columns]
    places = cut.transpose(1, 2).flatten(2).flatten(0, 1)
    if places.shape != (look.weights.shape[0], look.weights.shape[-1]):
        raise _Unmappable("This model cuts its grid into windows of a kind that cannot be stitched to one map.")
    return places


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))
