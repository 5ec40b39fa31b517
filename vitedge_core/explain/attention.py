"""Where a vision transformer looks: attention probabilities of every block and head, carried to the patches.

Rollout: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, arXiv:2005.00928.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedge_core.explain.fate import Fate

Head = int | Literal["mean", "max"]


@dataclass(frozen=True, slots=True)
class BlockAttention:
    """The attention of one block on one image.

    path: the block's module. weights: [G, H, n, n] probabilities in G windows of n places (one window of all N tokens
    in a plain ViT); rows sum to 1. places: [G, n] the token in each place, -1 where a window is padded. fate: which
    patches the tokens that enter the block stand for.
    """

    path: str
    weights: Tensor
    places: Tensor
    fate: Fate

    @property
    def heads(self) -> int:
        """H."""
        return self.weights.shape[1]

    @property
    def probabilities(self) -> Tensor:
        """Attention from every token to every token, [H, N, N]; windows are stitched, zero between them."""
        return _carry(torch.eye(self.fate.tokens), self.weights, self.places)

    def look(self, rows: Tensor) -> Tensor:
        """What these mixtures of queries attend to, by head: [Q, N] to [H, Q, N]."""
        return _carry(rows, self.weights, self.places)

    def flow(self, rows: Tensor) -> Tensor:
        """`rows` [Q, N] times 0.5 A + 0.5 I, row-normalised, A the mean over heads (Abnar and Zuidema, sec. 3)."""
        mean = self.weights.mean(1, keepdim=True)
        reached = _carry(torch.ones(1, self.fate.tokens), mean.mT, self.places)[0]  # row sums of A; 1 without padding
        rows = rows / (0.5 + 0.5 * reached)
        return 0.5 * rows + 0.5 * _carry(rows, mean, self.places)[0]


@dataclass(frozen=True, slots=True)
class Observation:
    """A forward pass on one image.

    logits: [K]. blocks: in order; empty when there is nothing to map, and `note` says why. grid: rows and columns of
    patches. prefix: class, distillation and register tokens before them. final: what the patches are part of after the
    last block. reader: [P] the tokens the classifier reads, in shares; reader_name: the same in words.
    """

    logits: Tensor
    blocks: tuple[BlockAttention, ...] = ()
    grid: tuple[int, int] = (0, 0)
    prefix: int = 0
    final: Fate | None = None
    reader: Tensor | None = None
    reader_name: str = ""
    note: str = ""

    @property
    def probabilities(self) -> Tensor:
        """Of the classes, [K]."""
        return self.logits.softmax(-1)

    def on_grid(self, mass: Tensor) -> Tensor:
        """Mass on original tokens [..., P] as a map of the patches [..., h, w]."""
        return mass[..., self.prefix :].unflatten(-1, self.grid)


def attention_map(seen: Observation, block: int, head: Head = "mean") -> Tensor:
    """Attention that the classifier's tokens pay to every patch in one block, [h, w].

    The values are shares of all attention; what goes to class, distillation and register tokens is missing from their
    sum. A merged token's share is spread evenly over its patches.
    """
    return _fused(_maps(seen, seen.blocks[block]), head)


def all_maps(seen: Observation, head: Head = "mean") -> Tensor:
    """`attention_map` of every block, [L, h, w]; a head that a block lacks is replaced by the mean."""
    return torch.stack([
        _fused(_maps(seen, block), "mean" if isinstance(head, int) and head >= block.heads else head)
        for block in seen.blocks
    ])  # fmt: skip


def rollout(seen: Observation, rows: Tensor | None = None) -> Tensor:
    """Share of the input tokens in the tokens after the last block, [Q, P] with rows that sum to 1.

    Args:
        seen: With blocks.
        rows: [Q, P] mixtures of tokens to start from, in shares of the original tokens; None takes each by itself.
    """
    final = seen.final or seen.blocks[-1].fate
    start = torch.eye(len(final.owner)) if rows is None else rows
    mass, fate = final.gather(start), final
    for block in reversed(seen.blocks):
        mass = block.flow(block.fate.gather(fate.spread(mass)))
        fate = block.fate
    return fate.spread(mass)


def rollout_map(seen: Observation) -> Tensor:
    """Rollout from the tokens the classifier reads to the patches, [h, w]."""
    assert seen.reader is not None
    return seen.on_grid(rollout(seen, seen.reader[None])[0])


def _maps(seen: Observation, block: BlockAttention) -> Tensor:
    """One map per head, [H, h, w]."""
    assert seen.reader is not None
    return seen.on_grid(block.fate.spread(block.look(block.fate.gather(seen.reader[None]))[:, 0]))


def _fused(maps: Tensor, head: Head) -> Tensor:
    if head == "mean":
        return maps.mean(0)
    return maps.amax(0) if head == "max" else maps[head]


def _carry(rows: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    """Rows [Q, N] times the attention of every head, windows put back into place: [H, Q, N]."""
    tokens = rows.shape[-1]
    inside = torch.where(places < 0, tokens, places)
    held = F.pad(rows, (0, 1))[:, inside]  # [Q, G, n]; nothing comes from or goes to padding
    reached = torch.einsum("qgi,ghij->hqgj", held, weights)
    carried = reached.new_zeros(*reached.shape[:2], tokens + 1)
    return carried.index_add_(-1, inside.flatten(), reached.flatten(2))[..., :tokens]
