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

    path: the block's module. weights: [G, H, n, m] probabilities in G windows of n tokens that look at m keys (one
    window of all N tokens in a plain ViT, where n = m = N); rows sum to 1. places: [G, n] the token in each place, -1
    where a window is padded. fate: which patches the tokens that enter the block stand for. keys: [m, N] the tokens
    that each key was pooled from, in shares, where keys are pooled; None where keys are the tokens themselves.
    gradients: the derivative of a class's logit by the weights, where it was asked for.
    """

    path: str
    weights: Tensor
    places: Tensor
    fate: Fate
    keys: Tensor | None = None
    gradients: Tensor | None = None

    @property
    def heads(self) -> int:
        """H."""
        return self.weights.shape[1]

    @property
    def probabilities(self) -> Tensor:
        """Attention from every token to every token, [H, N, N]; windows are stitched, zero between them."""
        return self.look(torch.eye(self.fate.tokens))

    def look(self, rows: Tensor) -> Tensor:
        """What these mixtures of queries attend to, by head: [Q, N] to [H, Q, N]."""
        return self.carry(rows, self.weights)

    def flow(self, rows: Tensor) -> Tensor:
        """`rows` [Q, N] times 0.5 A + 0.5 I, row-normalised, A the mean over heads (Abnar and Zuidema, sec. 3)."""
        mean = self.weights.mean(1, keepdim=True)
        reached = self._reached(mean)  # row sums of A; 1 without padding
        rows = rows / (0.5 + 0.5 * reached)
        return 0.5 * rows + 0.5 * self.carry(rows, mean)[0]

    def carry(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Rows [Q, N] times weights [G, H, n, m] laid out as this block's, put back into place: [H, Q, N]."""
        tokens = self.fate.tokens
        inside = torch.where(self.places < 0, tokens, self.places)
        held = F.pad(rows, (0, 1))[:, inside]  # [Q, G, n]; nothing comes from or goes to padding
        reached = torch.einsum("qgi,ghij->hqgj", held, weights)
        if self.keys is not None:
            return reached.sum(2) @ self.keys
        carried = reached.new_zeros(*reached.shape[:2], tokens + 1)
        return carried.index_add_(-1, inside.flatten(), reached.flatten(2))[..., :tokens]

    def _reached(self, mean: Tensor) -> Tensor:
        """How much of each token's attention arrives at tokens and not at padding, [N]."""
        tokens = self.fate.tokens
        inside = torch.where(self.places < 0, tokens, self.places)
        arrives = (self.places >= 0).float() if self.keys is None else self.keys.sum(1)[None]
        sums = torch.einsum("gij,gj->gi", mean[:, 0], arrives)
        return sums.new_zeros(tokens + 1).index_add_(0, inside.flatten(), sums.flatten())[:tokens]


@dataclass(frozen=True, slots=True)
class Observation:
    """A forward pass on one image.

    logits: [K]. blocks: in order; empty when there is nothing to map, and `note` says why. grid: rows and columns of
    patches. prefix: class, distillation and register tokens before them. final: what the patches are part of after the
    last block. reader: [P] the tokens the classifier reads, in shares; reader_name: the same in words. toward: the
    class whose logit the gradients are of. relevance: [P] what a pooling attention takes, times its gradients.
    """

    logits: Tensor
    blocks: tuple[BlockAttention, ...] = ()
    grid: tuple[int, int] = (0, 0)
    prefix: int = 0
    final: Fate | None = None
    reader: Tensor | None = None
    reader_name: str = ""
    note: str = ""
    toward: int | None = None
    relevance: Tensor | None = None

    @property
    def probabilities(self) -> Tensor:
        """Of the classes, [K]."""
        return self.logits.softmax(-1)

    def on_grid(self, mass: Tensor) -> Tensor:
        """Mass on original tokens [..., P] as a map of the patches [..., h, w]."""
        return mass[..., self.prefix :].unflatten(-1, self.grid)


def attention_map(seen: Observation, block: int, head: Head = "mean", rows: Tensor | None = None) -> Tensor:
    """Attention paid to every patch in one block, [h, w].

    The values are shares of all attention; what goes to class, distillation and register tokens is missing from their
    sum. A merged token's share is spread evenly over its patches, a pooled key's over the patches it was pooled from.

    Args:
        seen: With blocks.
        block: Its number.
        head: Its number, or the mean or the maximum over heads.
        rows: [P] who looks, in shares of the original tokens; None is what the classifier reads.
    """
    return _fused(_maps(seen, seen.blocks[block], rows), head)


def all_maps(seen: Observation, head: Head = "mean") -> Tensor:
    """`attention_map` of every block, [L, h, w]; a head that a block lacks is replaced by the mean."""
    return torch.stack([
        _fused(_maps(seen, block), "mean" if isinstance(head, int) and head >= block.heads else head)
        for block in seen.blocks
    ])  # fmt: skip


def one_patch(seen: Observation, patch: int) -> Tensor:
    """Only this patch looks (counted by rows from 0): [P] for `rows`."""
    rows = torch.zeros(seen.prefix + seen.grid[0] * seen.grid[1])
    rows[seen.prefix + patch] = 1
    return rows


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


def rollout_map(seen: Observation, rows: Tensor | None = None) -> Tensor:
    """Rollout from the tokens the classifier reads, or from `rows` [P], to the patches, [h, w]."""
    return seen.on_grid(rollout(seen, _looker(seen, rows)[None])[0])


def _looker(seen: Observation, rows: Tensor | None) -> Tensor:
    looker = seen.reader if rows is None else rows
    assert looker is not None
    return looker


def _maps(seen: Observation, block: BlockAttention, rows: Tensor | None = None) -> Tensor:
    """One map per head, [H, h, w]."""
    looker = block.fate.gather(_looker(seen, rows)[None])
    return seen.on_grid(block.fate.spread(block.look(looker)[:, 0]))


def _fused(maps: Tensor, head: Head) -> Tensor:
    if head == "mean":
        return maps.mean(0)
    return maps.amax(0) if head == "max" else maps[head]
