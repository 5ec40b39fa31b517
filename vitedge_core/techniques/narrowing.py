"""What methods share that remove whole heads and hidden neurons: the knobs, the arithmetic and the cut.

They differ in one thing only, the importance of a unit, which each gives in `scores`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from torch import nn

from vitedge_core.plan import Block, Plan
from vitedge_core.surgery.host import BlockHandle, editable_blocks
from vitedge_core.surgery.ranking import PER_LAYER, RANKINGS, best, removed
from vitedge_core.surgery.structure import Inner, Kept, cut, inner_means, zeros_left
from vitedge_core.techniques.base import Context, Technique, choice, knob, settled, switch

LEAST_HEADS = 1  # that stay in every block, whatever the ranking says
LEAST_HIDDEN = 8


@dataclass(frozen=True)
class Narrowing(Technique):
    """Whole heads and hidden neurons are removed; `kept` holds which stay, once that is decided."""

    ratio: float = knob(
        0.3, 0.0, 0.9, 0.05, label="Share removed", help="Share of the heads and of the MLP neurons that go."
    )
    heads: bool = switch(default=True, label="Heads", help="Remove attention heads.")
    mlp: bool = switch(default=True, label="MLP neurons", help="Remove hidden neurons of the MLPs.")
    ranking: str = choice(
        PER_LAYER, *RANKINGS, label="Ranking",
        help="Every block loses the same share, or all blocks compete and the least important units go.",
    )  # fmt: skip
    compensate: bool = switch(
        default=True,
        label="Compensate",
        help="Fold the mean of what is removed, on calibration images, into the next bias.",
    )
    kept: tuple[tuple[str, Kept], ...] | None = None  # by the block's path
    zeros: tuple[tuple[str, int], ...] = ()  # left by earlier steps in what stays, by path

    @abstractmethod
    def scores(
        self, model: nn.Module, handles: Sequence[BlockHandle], means: Sequence[Inner] | None, context: Context
    ) -> list[Inner]:
        """Importance of the heads [H] and hidden neurons [M] of every block; `means` when they will be made up for."""

    def supports(self, plan: Plan) -> str | None:
        """Refused after quantisation, and where there are no heads and neurons that can be cut out exactly."""
        title = self.card.title
        if not (self.heads or self.mlp):
            return f"{title} has nothing to remove: switch on heads or MLP neurons."
        if not any(_editable(block) for block in plan.blocks):
            return f"{title} finds no heads and neurons to cut in {plan.model}; choose a plain ViT or a Swin."
        if plan.quantised:
            return f"{title} needs unquantised weights: move this step before the quantisation."
        return None

    def decide(self, model: nn.Module, plan: Plan, context: Context) -> Self:
        """Rank on the real model."""
        handles = editable_blocks(model)
        kept = self._choose(model, handles, context)
        left = [item for h in handles for item in zeros_left(h, kept[h.path]).items()] if plan.zeros else []
        return settled(self, kept=tuple(kept.items()), zeros=tuple(left))

    def plan(self, plan: Plan) -> Plan:
        """Exact for a ranking per layer or a decided one; an estimate with equal shares otherwise."""
        known = self.kept is not None or self.ranking == PER_LAYER
        exact = plan.exact and known and (self.kept is not None or not plan.zeros)
        decided = dict(self.kept or ())
        for index, block in enumerate(plan.blocks):
            heads, hidden = self._left(block, decided.get(block.path))
            if heads < block.heads:
                plan = plan.keep_heads(index, heads)
            if hidden < block.hidden:
                plan = plan.keep_hidden(index, hidden)
        return replace(plan.set_zeros(dict(self.zeros)), exact=exact)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Cut, after folding the means of what goes into the biases behind it."""
        handles = editable_blocks(model)
        if self.kept is None:
            raise ValueError("decide this technique on the model before applying it")
        kept = dict(self.kept)
        means = self._means(model, handles, context)
        for index, handle in enumerate(handles):
            cut(handle, kept[handle.path], means[index] if means is not None else None)
        return model

    def _left(self, block: Block, decided: Kept | None) -> tuple[int, int]:
        """How many heads and hidden neurons a block keeps."""
        if decided is not None:
            return len(decided.heads), len(decided.hidden)
        if not _editable(block):
            return block.heads, block.hidden
        return (
            block.heads - self.heads * removed(block.heads, self.ratio, LEAST_HEADS),
            block.hidden - self.mlp * removed(block.hidden, self.ratio, LEAST_HIDDEN),
        )

    def _means(self, model: nn.Module, handles: Sequence[BlockHandle], context: Context) -> list[Inner] | None:
        if not self.compensate:
            return None
        tick = context.ticker("Averaging what is to be removed")
        return context.once("inner means", lambda: inner_means(model, handles, context.images, tick))

    def _choose(self, model: nn.Module, handles: Sequence[BlockHandle], context: Context) -> dict[str, Kept]:
        alike = replace(self, ratio=0.0, heads=True, mlp=True, ranking=PER_LAYER, kept=None, zeros=())
        means = self._means(model, handles, context)
        scores = context.once(alike, lambda: self.scores(model, handles, means, context))
        heads = [score.heads for score in scores]
        hidden = [score.hidden for score in scores]
        stay_heads = best(heads, self.ratio * self.heads, LEAST_HEADS, self.ranking)
        stay_hidden = best(hidden, self.ratio * self.mlp, LEAST_HIDDEN, self.ranking)
        paths = [handle.path for handle in handles]
        return dict(zip(paths, map(Kept, stay_heads, stay_hidden), strict=True))


def _editable(block: Block) -> bool:
    return block.attention != "other" and block.heads > 0
