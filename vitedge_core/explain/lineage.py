"""Which block and which head of the uncompressed model each one of the compressed model is.

Pruning renumbers what it leaves: head 1 may be what was head 3. Without this, two maps side by side would compare
strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vitedge_core.plan import Plan
from vitedge_core.techniques.base import Technique


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a block comes from: its number in the uncompressed model, and the numbers its heads have there."""

    block: int
    heads: tuple[int, ...]


def origins(plans: Sequence[Plan], techniques: Sequence[Technique]) -> tuple[Origin, ...]:
    """The origin of every block that is left, in order.

    Args:
        plans: The model's, then one after each technique.
        techniques: Decided: `dropped` holds the numbers of removed blocks, `kept` the heads that stay, by path.
    """
    left = [Origin(number, tuple(range(block.heads))) for number, block in enumerate(plans[0].blocks)]
    for plan, technique in zip(plans, techniques, strict=False):
        for number, block in enumerate(plan.blocks):
            kept = dict(getattr(technique, "kept", None) or ()).get(block.path)
            if kept is not None:
                left[number] = replace(left[number], heads=tuple(left[number].heads[head] for head in kept.heads))
        dropped = getattr(technique, "dropped", None) or ()
        left = [origin for number, origin in enumerate(left) if number not in dropped]
    return tuple(left)
