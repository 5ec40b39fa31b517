"""Whole blocks are taken out of the network: those that change their tokens least.

Men, Xu, Zhang, Wang, Lin, Lu, Han, Chen, "ShortGPT: Layers in Large Language Models are More Redundant Than You
Expect", 2024, arXiv 2403.03853. Removing blocks of a trained transformer goes back to Fan, Grave, Joulin, "Reducing
Transformer Depth on Demand with Structured Dropout", ICLR 2020, arXiv 1909.11556.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.plan import Plan
from vitedge_core.registry import register
from vitedge_core.surgery.blocks import drop_blocks
from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.importance import influences
from vitedge_core.surgery.ranking import removed
from vitedge_core.techniques.base import Card, Context, Family, Technique, block_list, knob, named_blocks, settled


@register
@dataclass(frozen=True)
class LayerDrop(Technique):
    """Removes whole transformer blocks.

    Idea:
        A block adds to its tokens; one that hardly turns them is hardly missed. The cosine of what enters and what
        leaves, on a few images, ranks the blocks, and those with the highest likeness are taken out.

    Cost:
        One forward pass over the calibration images, no labels. Latency falls in proportion to the blocks that go, on
        any device, and nothing else about the network changes.

    When it fails:
        A small rotation can matter more than its angle tells, early blocks above all, and the last block of a
        classifier often decides. Without further training a model of few blocks seldom survives the loss of a third of
        them (add soft_logits after it).

    Reference:
        Men et al., 2024 (the ranking); Fan, Grave and Joulin, ICLR 2020 (shallower transformers from a trained one).
    """

    ratio: float = knob(0.25, 0.0, 0.9, 0.05, label="Share removed", help="Share of the blocks that go.")
    blocks: str = block_list(
        label="Blocks",
        help="Numbers of the blocks to remove, from 0, such as 2,5; empty leaves the choice to the ranking.",
    )
    dropped: tuple[int, ...] | None = None

    card: ClassVar[Card] = Card(
        key="layer_drop",
        title="Whole blocks",
        family=Family.PRUNING,
        reference="Men et al., ShortGPT: Layers in Large Language Models are More Redundant Than You Expect, 2024",
        arxiv="2403.03853",
        differs=(
            "For images: the likeness is averaged over all tokens of the calibration images.",
            "Every stage of a hierarchical network keeps at least one block.",
        ),
        measured=(
            "On digits_vit_base (96.2 % of 2,000 test images right) the block it takes first is the best of all six "
            "choices (82.0 % are left; the median is 68.0 %). Of two blocks it takes a middling pair: 28.4 %, where "
            "the median is 21.1 % and the best 47.6 %."
        ),
        calibrates=True,
    )

    def supports(self, plan: Plan) -> str | None:
        """Refused after token merging, whose schedule counts blocks, and for blocks that do not exist."""
        if not plan.blocks:
            return f"{self.card.title} finds no transformer blocks in {plan.model}; choose a plain ViT or a Swin."
        if plan.merges_tokens:
            return f"{self.card.title} would shift the schedule of the token merging: move this step before it."
        try:
            self._named(plan)
        except VitEdgeError as error:
            return str(error)
        return None

    def decide(self, model: nn.Module, plan: Plan, context: Context) -> Self:
        """Rank the blocks on the calibration images, unless the knob names them."""
        named = self._named(plan)
        if named or not self._count(plan):
            return settled(self, dropped=named)
        scores = influences(model, blocks(model), context.images, context.ticker("Comparing blocks"))
        order = sorted(range(len(plan.blocks)), key=lambda index: (float(scores[index]), index))
        return settled(self, dropped=_first_that_may_go(order, plan, self._count(plan)))

    def plan(self, plan: Plan) -> Plan:
        """Exact when the blocks are named or decided, or when all cost the same."""
        dropped = self.dropped if self.dropped is not None else self._named(plan)
        if dropped:
            return plan.drop_blocks(dropped)
        count = 0 if self.dropped is not None else self._count(plan)
        if not count:
            return plan
        guess = _first_that_may_go(list(reversed(range(len(plan.blocks)))), plan, count)
        return replace(plan.drop_blocks(guess), exact=plan.exact and _all_alike(plan))

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Take the blocks out."""
        if self.dropped is None:
            raise ValueError("decide this technique on the model before applying it")
        drop_blocks(model, self.dropped)
        return model

    def _count(self, plan: Plan) -> int:
        return removed(len(plan.blocks), self.ratio, len(Counter(_lists(plan))))

    def _named(self, plan: Plan) -> tuple[int, ...]:
        """The blocks the knob names, in order; none if it is empty."""
        named = named_blocks(self.blocks, plan, "layer_drop.blocks")
        if len(_first_that_may_go(named, plan, len(named))) < len(named):
            raise VitEdgeError(
                "layer_drop.blocks would empty the model or one of its stages; leave at least one block in each."
            )
        return named


def _lists(plan: Plan) -> list[str]:
    """For each block the module that holds it: one in a plain ViT, one per stage in a Swin."""
    return [block.path.rpartition(".")[0] for block in plan.blocks]


def _first_that_may_go(order: Sequence[int], plan: Plan, count: int) -> tuple[int, ...]:
    """The first `count` blocks of the order that leave every list with at least one; sorted."""
    lists = _lists(plan)
    left = Counter(lists)
    gone: list[int] = []
    for index in order:
        if len(gone) < count and left[lists[index]] > 1:
            left[lists[index]] -= 1
            gone.append(index)
    return tuple(sorted(gone))


def _all_alike(plan: Plan) -> bool:
    """Whether it does not matter to the costs which block goes."""
    bills = [[0, 0, 0, 0] for _ in plan.blocks]
    for op in plan.ops:
        if op.block >= 0:
            for place, cost in enumerate((op.macs, op.params, op.zeros, op.stored_bytes)):
                bills[op.block][place] += cost
    return all(bill == bills[0] for bill in bills)
