"""What a classifier reads of its tokens: a class token, their mean, or what a pooling attention takes.

Class attention: Touvron et al., "Going deeper with Image Transformers", ICCV 2021, arXiv:2103.17239, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitedge_core.explain.fate import Fate
from vitedge_core.explain.placement import STRANGE, UnmappableError


@dataclass(frozen=True, slots=True)
class Pooling:
    """One query that reads the tokens.

    weights: [H, m], rows sum to 1. gradients: the derivative of a logit by them, or None. itself: the first key is the
    reader's own token, as in class attention, and the rest of it stays with itself.
    """

    weights: Tensor
    gradients: Tensor | None = None
    itself: bool = False


def reader_of(
    model: nn.Module, final: Fate, prefix: int, poolings: Sequence[Pooling]
) -> tuple[Tensor, Tensor | None, str]:
    """What the classifier reads: shares of the original tokens [P], (gradient times share)+ where known, and a name.

    Args:
        model: The classifier.
        final: What the original tokens are part of where they are read.
        prefix: How many of them are no patches.
        poolings: What reads the tokens, in order; empty where nothing but the model's own pooling does.

    Raises:
        UnmappableError: What is read are other tokens than those.
    """
    if not poolings:
        reader, name = _by_name(model, len(final.owner), prefix)
        return reader, None, name
    shares = _through(poolings, [pooling.weights.mean(0) for pooling in poolings], keep=0.5)
    reader = _spread(shares / shares.sum(), final, prefix)
    slopes = None
    if all(pooling.gradients is not None for pooling in poolings):
        positive = [(p.weights * p.gradients).clamp_min(0).mean(0) for p in poolings]  # type: ignore[operator]
        slopes = _spread(_through(poolings, positive, keep=1.0), final, prefix)
    return reader, slopes, "class attention" if poolings[0].itself else "attention pooling"


def _by_name(model: nn.Module, tokens: int, prefix: int) -> tuple[Tensor, str]:
    reader = torch.zeros(tokens)
    by_class_token = getattr(model, "global_pool", "token") in {"token", ""}
    if prefix and by_class_token and getattr(model, "cls_token", None) is not None:
        distilled = getattr(model, "dist_token", None) is not None
        reader[: 2 if distilled else 1] = 0.5 if distilled else 1.0
        return reader, "class and distillation token" if distilled else "class token"
    reader[prefix:] = 1 / (tokens - prefix)
    return reader, "average patch"


def _through(poolings: Sequence[Pooling], attention: Sequence[Tensor], keep: float) -> Tensor:
    """What the reader has of the tokens in the end, [m]: the last pooling looks at what the ones before it made.

    With class attention each step is `keep` I + (1 - keep or 1) A on the reader's row, as in rollout.
    """
    if not poolings[0].itself:
        return attention[-1]
    own, read = torch.ones(()), torch.zeros_like(attention[0][1:])
    share = 1 - keep if keep < 1 else 1.0
    for weights in reversed(attention):
        read = read + share * own * weights[1:]
        own = own * (keep + share * weights[0])
    return read


def _spread(shares: Tensor, final: Fate, prefix: int) -> Tensor:
    """Shares of what is read as shares of the original tokens, [P]; the reader may leave the prefix out."""
    original = len(final.owner)
    if len(shares) == original - prefix:
        shares = torch.cat([shares.new_zeros(prefix), shares])
    if len(shares) == original:
        return shares
    if len(shares) == final.tokens:
        return final.spread(shares)
    raise UnmappableError(STRANGE)
