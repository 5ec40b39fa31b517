"""What became of every patch: the token it belongs to, block by block.

Token merging (Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023, arXiv:2210.09461) and the patch merging
of hierarchical networks both put several patches into one token; pruning tokens leaves patches without one. All three
are one vector of owners, and attention is carried back to the patches by sharing a token's mass among its members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

GONE = -1


@dataclass(frozen=True, slots=True)
class Fate:
    """Which of `tokens` tokens every original token belongs to.

    owner: [P] int64, P the tokens that entered the first block (class token and registers among them); -1 where a
    token was dropped.
    """

    owner: Tensor
    tokens: int

    @classmethod
    def untouched(cls, tokens: int) -> Fate:
        """Every token is still its own."""
        return cls(torch.arange(tokens), tokens)

    @classmethod
    def pooled(cls, before: tuple[int, int], after: tuple[int, int]) -> Fate:
        """Neighbouring patches merged: a grid of [h, w] tokens where there was a finer one, as in Swin."""
        rows, columns = (
            torch.arange(fine) // -(-fine // coarse) for fine, coarse in zip(before, after, strict=True)
        )  # fmt: skip
        owner = rows[:, None] * after[1] + columns[None, :]
        return cls(owner.flatten(), after[0] * after[1])

    @property
    def sizes(self) -> Tensor:
        """How many original tokens each token stands for, [N] int64."""
        return torch.bincount(self.owner[self.owner != GONE], minlength=self.tokens)

    @property
    def merged(self) -> int:
        """Original tokens that share their token with another one."""
        sizes = self.sizes
        return int(sizes[sizes > 1].sum())

    @property
    def dropped(self) -> int:
        """Original tokens that nothing stands for any more."""
        return int((self.owner == GONE).sum())

    def then(self, step: Tensor, tokens: int) -> Fate:
        """What becomes of the original tokens when token i goes into `step[i]` (-1: dropped) of `tokens` new ones."""
        moved = step[self.owner.clamp_min(0)]
        return Fate(torch.where(self.owner == GONE, GONE, moved), tokens)

    def spread(self, mass: Tensor) -> Tensor:
        """Mass on tokens [..., N] shared equally among their members [..., P]; what is dropped gets nothing."""
        share = mass / self.sizes.clamp_min(1)
        return torch.where(self.owner == GONE, 0.0, share[..., self.owner.clamp_min(0)])

    def gather(self, mass: Tensor) -> Tensor:
        """Mass on original tokens [..., P] summed by token [..., N]."""
        alive = self.owner != GONE
        summed = mass.new_zeros(*mass.shape[:-1], self.tokens)
        return summed.index_add_(-1, self.owner[alive], mass[..., alive])

    def companions(self, member: int) -> Tensor:
        """The original tokens in the same token as this one, itself included; none when it was dropped."""
        if self.owner[member] == GONE:
            return torch.empty(0, dtype=torch.long)
        return torch.nonzero(self.owner == self.owner[member]).flatten()


class Became(StrEnum):
    """What a block did to a token."""

    KEPT = "kept"
    MERGED = "merged"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a block did to an original token.

    block: its number. became: merged where the token's company grew. companions: the original tokens in the same token
    afterwards, itself included; none once it is dropped.
    """

    block: int
    became: Became
    companions: tuple[int, ...]


def story(fates: Sequence[Fate], member: int) -> tuple[Turn, ...]:
    """What happened to an original token in each block, up to the one that dropped it.

    Args:
        fates: After each block, in order.
        member: The original token.
    """
    told: list[Turn] = []
    company = 1
    for block, fate in enumerate(fates):
        together = tuple(fate.companions(member).tolist())
        became = Became.DROPPED if not together else Became.MERGED if len(together) > company else Became.KEPT
        told.append(Turn(block, became, together))
        if became is Became.DROPPED:
            break
        company = len(together)
    return tuple(told)
