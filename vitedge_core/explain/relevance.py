"""Gradient-weighted rollout: which patches speak for a class, as attention and its gradients tell.

Chefer, Gur, Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers",
ICCV 2021, arXiv:2103.15679; the rule for self-attention, equations 5 and 6.
"""

from __future__ import annotations

from torch import Tensor

from vitedge_core.errors import VitEdgeError
from vitedge_core.explain.attention import BlockAttention, Observation


def relevance(seen: Observation, rows: Tensor) -> Tensor:
    """`rows` times R, where R = I before the first block and R <- R + A' R in each.

    A' is the mean over heads of (gradient * attention)+ (equation 5). Followed from the last block to the first, so
    that only as many rows are carried as are asked for.

    Args:
        seen: With blocks that have gradients (`observe(..., toward=class)`).
        rows: [Q, P] mixtures of tokens to start from.

    Returns:
        [Q, P], never negative; no probabilities, their sum depends on the size of the gradients.

    Raises:
        VitEdgeError: There are no gradients; the sentence says why.
    """
    assert seen.final is not None
    fate = seen.final
    mass = fate.gather(rows)
    for block in reversed(seen.blocks):
        mass = block.fate.gather(fate.spread(mass))
        mass = mass + block.carry(mass, _positive(block))[0]
        fate = block.fate
    return fate.spread(mass)


def relevance_map(seen: Observation) -> Tensor:
    """Relevance of every patch for the class that the observation looks toward, [h, w].

    From a class token it is its row of R. Where the classifier averages patches it is the mean of their rows without
    the identity that R begins with, which says the same of every patch; where a pooling attention reads them, its own
    (gradient * attention)+ comes first.

    Raises:
        VitEdgeError: There are no gradients; the sentence says why.
    """
    assert seen.reader is not None
    if seen.relevance is not None:
        return seen.on_grid(relevance(seen, seen.relevance[None])[0])
    start = seen.reader[None]
    return seen.on_grid((relevance(seen, start) - start)[0].clamp_min(0))


def _positive(block: BlockAttention) -> Tensor:
    """(gradient * attention)+, mean over heads, [G, 1, n, m]."""
    if block.gradients is None:
        raise VitEdgeError(
            "This model never forms its attention as such, so there is no gradient of it; choose rollout instead."
        )
    return (block.gradients * block.weights).clamp_min(0).mean(1, keepdim=True)
