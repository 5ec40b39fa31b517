"""Token merging between attention and MLP, by the likeness of keys.

Bolya, Fu, Dai, Zhang, Feichtenhofer, Hoffman, "Token Merging: Your ViT But Faster", ICLR 2023, arXiv 2210.09461.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vitedge_core.plan import Block, Plan
from vitedge_core.registry import register
from vitedge_core.surgery.tokens import matching_macs, mergeable, start_merging
from vitedge_core.techniques.base import Card, Context, Family, Technique, choice, knob, switch

CONSTANT, DECREASING, ONE = "constant", "decreasing", "one block"


def per_block(r: int, blocks: int, schedule: str, block: int = 0) -> tuple[int, ...]:
    """Tokens asked of each block.

    `r` of all; or from 2r in the first down to none in the last (r on average); or `r` of the one numbered `block`.
    """
    if schedule == ONE:
        return tuple(r * (index == block) for index in range(blocks))
    if schedule == CONSTANT or blocks == 1:
        return (r,) * blocks
    return tuple(2 * r * (blocks - 1 - index) // (blocks - 1) for index in range(blocks))


@register
@dataclass(frozen=True)
class Tome(Technique):
    """Every block merges its most alike patch tokens, so that later blocks have less to do.

    Idea:
        Neighbouring patches often say the same. Between attention and MLP the tokens are split alternately into two
        sets; each token of the first finds the one of the second whose key is most like its own, and the `r` best pairs
        become their mean, weighted by how many patches each already stands for. Attention then counts a merged token as
        often as the patches in it (proportional attention). Nothing is trained.

    Cost:
        No parameter goes. MACs and activations fall in proportion to the tokens that are left, a little more in
        attention; finding the pairs costs a product of half the tokens with the other half in each block.

    When it fails:
        Small models and few tokens have little to spare: beyond about half of the tokens merged by the last block,
        accuracy falls steeply. Dense tasks (segmentation) need the tokens back. Windowed networks such as Swin need a
        regular grid, which merging destroys.

    Reference:
        Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023, arXiv 2210.09461.
    """

    card = Card(
        "tome",
        "Token merging (ToMe)",
        Family.TOKENS,
        "Bolya et al., Token Merging: Your ViT But Faster, ICLR 2023",
        arxiv="2210.09461",
        differs=(
            "Beside the paper's two schedules one block may merge alone, as its code's list of r allows, too.",
            "Class, distillation and register tokens are set aside before the split, not masked in it.",
            "Where a network pools over all tokens, each patch gets back the value of its merged token beforehand.",
        ),
        measured=(
            "On digits_vit_base (96.2 % of 2,000 test images), r = 4 saves 20 % of the MACs and costs 3.2 points; "
            "r = 8 saves 39 % and costs 11.5. Proportional attention gains no more than chance here (+0.3 points, "
            "−0.2 to +0.9)."
        ),
    )
    r: int = knob(
        4, 0, 64, 1, label="Tokens merged per block", help="At most half of a block's patch tokens can merge."
    )
    schedule: str = choice(
        CONSTANT, CONSTANT, DECREASING, ONE, label="Schedule",
        help="The same number in every block; 2r in the first, falling to none in the last; or r in one block only.",
    )  # fmt: skip
    block: int = knob(
        0, 0, 63, 1, label="The one block", help="Its number, from 0; only where one block merges and no other."
    )
    proportional: bool = switch(
        default=True,
        label="Proportional attention",
        help="A merged token counts as often as the patches it stands for.",
    )

    def supports(self, plan: Plan) -> str | None:
        """Plain transformers only, once."""
        if plan.merges_tokens:
            return "Tokens are merged already: raise the r of that step instead of adding another."
        if any(block.attention == "window" for block in plan.blocks):
            return (
                f"{plan.model} computes attention in windows of a regular grid, which merging would destroy; use a "
                "plain ViT, or prune heads and neurons."
            )
        plain = [f"blocks.{index}" for index in range(len(plan.blocks))] == [block.path for block in plan.blocks]
        if not plan.blocks or not plain or any(block.attention != "global" for block in plan.blocks):
            return f"Token merging needs a plain ViT whose blocks all attend to all tokens, which {plan.model} is not."
        if self.schedule == ONE and self.block >= len(plan.blocks):
            last = len(plan.blocks) - 1
            return f"tome.block = {self.block} names no block: {plan.model} has the blocks 0 to {last} here."
        return None

    def _asked(self, blocks: int) -> tuple[int, ...]:
        return per_block(self.r, blocks, self.schedule, self.block)

    def plan(self, plan: Plan) -> Plan:
        """Exact: how many tokens merge depends on no weight and no image."""
        if self.r == 0:
            return plan
        asked = self._asked(len(plan.blocks))
        prefix = plan.blocks[0].prefix

        def merged(index: int, tokens: int) -> int:
            return mergeable(tokens, prefix, asked[index])

        def matching(block: Block, gone: int) -> int:
            return matching_macs(block.tokens, prefix, block.head_width) if gone else 0

        pools = prefix == 0 or any(op.path.startswith("attn_pool") for op in plan.ops)
        return plan.merge_tokens(merged, matching, restored=pools)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Put merging blocks in the place of the model's; with r = 0 the model stays as it is."""
        if self.r == 0:
            return model
        context.check_cancelled()
        count = len(list(model.get_submodule("blocks").children()))
        start_merging(model, self._asked(count), proportional=self.proportional)
        return model
