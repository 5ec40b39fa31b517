"""A trained network as a supernet: every block may be skipped, narrowed and rounded, on shared weights.

Weight entanglement: Chen, Peng, Fu, Ling, "AutoFormer: Searching Transformers for Visual Recognition", ICCV 2021, arXiv
2107.00651: a narrower candidate is the more important part of the wider one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitedge_core.plan import BLOCK_LAYERS
from vitedge_core.surgery.heads import columns_of
from vitedge_core.surgery.host import BlockHandle
from vitedge_core.surgery.paths import Decision, Narrowed, Rounded, Skippable
from vitedge_core.surgery.replace import put
from vitedge_core.surgery.structure import Inner, Kept

Bits = tuple[int, int]  # of weights and of activations
START = 2.0  # head start of the trained model's own path: its weights are worth nothing on paths drawn by lot


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the search leaves of a block: kept None where it goes; bits by layer, in the order of `BLOCK_LAYERS`."""

    kept: Kept | None
    bits: tuple[Bits, ...]


@dataclass(frozen=True, slots=True)
class Widths:
    """Candidates of a block: numbers of heads and of neurons (empty where there are none to cut), bits; may it go?"""

    heads: tuple[int, ...]
    hidden: tuple[int, ...]
    bits: tuple[Bits, ...]
    may_go: bool = True


class SearchedBlock:
    """The decisions of one block: keep it, its heads, its neurons, the bits of its four layers."""

    def __init__(self, handle: BlockHandle, scores: Inner, widths: Widths, generator: torch.Generator) -> None:
        self.handle, self.bits, self.may_go = handle, widths.bits, widths.may_go
        self.heads = tuple(_most(scores.heads, count) for count in widths.heads)
        self.hidden = tuple(_most(scores.hidden, count) for count in widths.hidden)
        self.skip = Decision(2, generator, START)
        if not self.may_go:
            self.skip.logits.data = torch.tensor([1e3, 0.0])
        self.width = Decision(len(self.heads), generator, START)
        self.neurons = Decision(max(1, len(self.hidden)), generator, START)
        self.rounding = [Decision(len(self.bits), generator, START) for _ in BLOCK_LAYERS]

    @property
    def decisions(self) -> list[Decision]:
        """All of them that are a choice; a skip that is not open to choice stays at "keep"."""
        every = [*([self.skip] if self.may_go else []), self.width, self.neurons, *self.rounding]
        return [decision for decision in every if len(decision.logits) > 1]

    def install(self, model: nn.Module, grids: dict[str, tuple[nn.Module, nn.Module, nn.Module]]) -> None:
        """Put the decisions into the model, in place.

        Args:
            model: The one the handle is of.
            grids: For each layer's path the grids of its input, of 8-bit and of 4-bit weights; empty for no choice.
        """
        handle, path = self.handle, self.handle.path
        masks = {"attn.proj": _masks([columns_of(kept, handle.head_width) for kept in self.heads], handle.attn.proj)}
        if self.hidden:
            masks["mlp.fc2"] = _masks([torch.tensor(kept) for kept in self.hidden], handle.mlp.fc2)
        for name, decision in zip(BLOCK_LAYERS, self.rounding, strict=True):
            where = f"{path}.{name}"
            if where in grids:
                inputs, eight, four = grids[where]
                candidates = [(nn.Identity(), nn.Identity()), (inputs, eight), (inputs, four)]
                put(model, where, Rounded(model.get_submodule(where), candidates, decision))  # type: ignore[arg-type]
            if name in masks:
                owner = self.width if name == "attn.proj" else self.neurons
                put(model, where, Narrowed(model.get_submodule(where), masks[name], owner))
        put(model, path, Skippable(handle.block, self.skip))

    def chosen(self) -> Chosen:
        """The likeliest path."""
        bits = tuple(self.bits[likeliest(decision)] for decision in self.rounding)
        if likeliest(self.skip):
            return Chosen(None, bits)
        hidden = self.hidden[likeliest(self.neurons)] if self.hidden else ()
        return Chosen(Kept(self.heads[likeliest(self.width)], hidden), bits)


def likeliest(decision: Decision) -> int:
    """Number of the candidate with the largest probability."""
    return int(decision.logits.argmax())


def _most(scores: Tensor, count: int) -> tuple[int, ...]:
    """Numbers of the `count` most important units, in order."""
    return tuple(sorted(scores.topk(count).indices.tolist()))


def _masks(kept: Sequence[Tensor], layer: nn.Linear) -> Tensor:
    """[K, inputs], 1 for what stays."""
    return torch.stack([torch.zeros(layer.in_features).index_fill(0, index, 1.0) for index in kept])
