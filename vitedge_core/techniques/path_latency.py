"""What the paths through a supernet take: expected, on the likeliest path, and how that path is made to meet a limit.

Cai, Zhu, Han, "ProxylessNAS", ICLR 2019, arXiv 1812.00332, section 3.3: the expectation is a sum of probabilities times
tabled seconds, so it has a gradient to every logit.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vitedge_core.cost.path_times import BlockTimes, PathTimes
from vitedge_core.surgery.paths import Decision
from vitedge_core.surgery.supernet import SearchedBlock, likeliest


@dataclass(frozen=True)
class PathLatency:
    """Blocks with their decisions, by number in the plan, and the table of their seconds.

    lists: the list of modules that holds each of them; every list keeps at least one of these blocks.
    """

    blocks: dict[int, SearchedBlock]
    times: PathTimes
    lists: dict[int, str]

    @cached_property
    def decisions(self) -> list[Decision]:
        """Every choice there is."""
        return [decision for block in self.blocks.values() for decision in block.decisions]

    def expected(self) -> Tensor:
        """Seconds of one image, expected over all paths: E[LAT]; a scalar."""
        return (
            self.times.fixed + torch.stack([_expected(b, self.times.blocks[i]) for i, b in self.blocks.items()]).sum()
        )

    def seconds(self) -> float:
        """Seconds of one image on the likeliest path."""
        return self.times.fixed + sum(_seconds(block, self.times.blocks[i]) for i, block in self.blocks.items())

    @torch.no_grad()
    def tighten(self, limit: float) -> None:
        """Make the likeliest path whole and short enough.

        Every list gets back its likeliest block if all were to go. Then, of all single changes that win time, the one
        that costs the least likelihood per second is made, until the limit (seconds of one image) is met or nothing
        wins time any more.
        """
        for name in set(self.lists.values()):
            own = [self.blocks[index] for index, where in self.lists.items() if where == name]
            if all(likeliest(block.skip) for block in own):
                _prefer(max(own, key=lambda block: float(block.skip.probabilities[0])).skip, 0)
        while (now := self.seconds()) > limit:
            barred = self._last_ones()
            changes = [
                (self._price(decision, candidate, now), number, candidate)
                for number, decision in enumerate(self.decisions) if id(decision) not in barred
                for candidate in range(len(decision.logits))
            ]  # fmt: skip
            price, number, candidate = min(changes, default=(math.inf, 0, 0))
            if price == math.inf:
                return
            _prefer(self.decisions[number], candidate)

    def _last_ones(self) -> set[int]:
        """The skips of blocks that are the last of their list."""
        left = [index for index, block in self.blocks.items() if not likeliest(block.skip)]
        counts = Counter(self.lists[index] for index in left)
        return {id(self.blocks[index].skip) for index in left if counts[self.lists[index]] == 1}

    def _price(self, decision: Decision, candidate: int, now: float) -> float:
        """Logarithm of likelihood lost per second won; infinite where nothing is won."""
        before = decision.logits.clone()
        _prefer(decision, candidate)
        won = now - self.seconds()
        decision.logits.copy_(before)
        return max(float(before.max() - before[candidate]), 1e-6) / won if won > 0 else math.inf


def _prefer(decision: Decision, candidate: int) -> None:
    decision.logits[candidate] = decision.logits.max() + 1


def _expected(block: SearchedBlock, times: BlockTimes) -> Tensor:
    attention, mlp = block.width.probabilities, block.neurons.probabilities
    total = attention @ torch.tensor(times.halves[0]) + mlp @ torch.tensor(times.halves[1]) + times.rest
    for number, decision in enumerate(block.rounding):
        wide = attention if number < 2 else mlp
        total = total + wide @ torch.tensor(times.layers[number]) @ decision.probabilities
    return block.skip.probabilities[0] * total


def _seconds(block: SearchedBlock, times: BlockTimes) -> float:
    if likeliest(block.skip):
        return 0.0
    wide, neurons = likeliest(block.width), likeliest(block.neurons)
    layers = sum(times.layers[n][wide if n < 2 else neurons][likeliest(d)] for n, d in enumerate(block.rounding))
    return times.halves[0][wide] + times.halves[1][neurons] + layers + times.rest
