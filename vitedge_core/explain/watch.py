"""Seeing attention while a model runs: the probabilities of every attention module, fused or not.

Fused attention never holds its probabilities, so they are recomputed from the very queries, keys and masks that the
model hands to the product: whatever scales, normalises, biases or quantises them is honoured without knowing about it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.efficientvit_mit import LiteMLA
from timm.models.shvit import SHSA
from timm.models.vision_transformer import ParallelScalingBlock
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_THEMSELVES = (LiteMLA, SHSA, ParallelScalingBlock)  # blocks and attention in one
_NAMES = ("attn", "token_mixer")
_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


class Watch(TorchFunctionMode):
    """Probabilities in the order in which they are computed, by attention module: [..., H, n, m] over n tokens, m keys.

    A function mode sees the calls of its own thread only. With `differentiable`, the products run unfused, and what is
    kept is part of the graph, so that an output can be differentiated by it; the model stays what it is.
    """

    def __init__(self, attentions: Iterable[nn.Module], *, differentiable: bool = False) -> None:
        super().__init__()
        self.calls: dict[nn.Module, list[Tensor]] = {attention: [] for attention in attentions}
        self.differentiable = differentiable
        self.elsewhere = 0  # attention that was computed outside these modules
        self._inside: list[nn.Module] = []
        self._features: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the call, and keep the probabilities in it."""
        kwargs = kwargs or {}
        if not self._inside:
            result = func(*args, **kwargs)
            self.elsewhere += func is F.scaled_dot_product_attention or (func in _SOFTMAX and result.ndim >= 3)
            return result
        found = self.calls[self._inside[-1]]
        if func is F.scaled_dot_product_attention:
            return self._product(found, *args, **kwargs)
        result = func(*args, **kwargs)
        if func in _SOFTMAX and result.ndim >= 3 and _over_last(result.ndim, args, kwargs):
            found.append(result)
            return result.clone()  # some networks go on in place
        if func is F.relu and isinstance(self._inside[-1], LiteMLA):
            self._linear(found, result)
        return result

    def _product(
        self, found: list[Tensor], query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any
    ) -> Tensor:
        weights = unfused(query, key, *rest, **named)
        found.append(weights)
        if self.differentiable:
            return weights @ value
        return F.scaled_dot_product_attention(query, key, value, *rest, **named)

    def entering(self, module: nn.Module, arguments: object) -> None:
        """A forward pre-hook: what is computed now belongs to this module."""
        self._inside.append(module)
        self._features = []

    def leaving(self, module: nn.Module, arguments: object, result: object) -> None:
        """A forward hook: and no longer."""
        self._inside.remove(module)

    def _linear(self, found: list[Tensor], features: Tensor) -> None:
        """Attention with ReLU features of queries, then keys [B, H, N, d] (Cai et al., arXiv:2205.14756, eq. 2)."""
        self._features.append(features)
        if len(self._features) == 2:
            query, key = self._features
            likeness = query @ key.mT
            found.append(likeness / likeness.sum(-1, keepdim=True).clamp_min(1e-12))


@contextmanager
def watching(attentions: Iterable[nn.Module], *, differentiable: bool = False) -> Iterator[Watch]:
    """Keep the probabilities of these modules while the context lasts; the hooks go with it, also after an error."""
    watch = Watch(attentions, differentiable=differentiable)
    hooks = [module.register_forward_pre_hook(watch.entering) for module in watch.calls]
    hooks += [module.register_forward_hook(watch.leaving) for module in watch.calls]
    try:
        with watch:
            yield watch
    finally:
        for hook in hooks:
            hook.remove()


def unfused(  # noqa: PLR0917  the order of arguments is torch's
    query: Tensor, key: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, **_: object,
) -> Tensor:  # fmt: skip
    """The probabilities inside `scaled_dot_product_attention` of these arguments, [..., H, n, m]."""
    scores = query @ key.mT * (scale if scale is not None else query.shape[-1] ** -0.5)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    return scores.softmax(-1)


def _over_last(dimensions: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return dim in {-1, dimensions - 1}


def attention_sites(model: nn.Module) -> dict[str, tuple[nn.Module, nn.Module]]:
    """Blocks and their attention by path, in order: what holds an `attn` or a `token_mixer`, or is both in one."""
    found: dict[str, tuple[nn.Module, nn.Module]] = {}
    for path, module in model.named_modules():
        named = (module,) if isinstance(module, _THEMSELVES) else (getattr(module, name, None) for name in _NAMES)
        inner = [child for child in named if isinstance(child, nn.Module) and not isinstance(child, nn.Identity)]
        if inner:
            found[path] = (module, inner[0])
    return found
