"""How costs grow with the input: the same network at several sizes, and the power of N that each kind of work follows.

With N tokens, projections and the MLP grow like N and global attention like N^2 (Vaswani et al., "Attention is all you
need", 2017, arXiv 1706.03762, table 1); windows, a reduced or pooled key and linear attention bend the latter down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vitedge_core.cost.report import Cost, cost
from vitedge_core.plan import Kind, Plan


@dataclass(frozen=True, slots=True)
class Size:
    """A network at one input size.

    side: of the image in pixels. tokens: vectors that enter its first attention, 0 if it has none.
    """

    side: int
    tokens: int
    cost: Cost

    def macs(self, kind: str) -> int:
        """Multiply-accumulates of a kind; 0 if there are none."""
        return next((part.macs for part in self.cost.by_kind if part.label == kind), 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them."""
        return {
            "side": self.side,
            "tokens": self.tokens,
            **{name: getattr(self.cost, name).to_dict() for name in ("params", "macs", "peak_memory_bytes")},
            "by_kind": [part.to_dict() for part in self.cost.by_kind],
        }


def size(plan: Plan, batch: int = 1) -> Size:
    """A plan as a point of its curve."""
    first = next((op.rows for op in plan.ops if op.kind is Kind.QKV), 0)
    return Size(plan.image[1], first, cost(plan, batch))


def kinds(sizes: Sequence[Size]) -> list[str]:
    """The kinds that multiply at any of the sizes, in the order of the network."""
    return list(dict.fromkeys(part.label for each in sizes for part in each.cost.by_kind if part.macs))


def growth(sizes: Sequence[Size], kind: str = "") -> float | None:
    """The power of the number of pixels that the work follows, between the smallest and the largest size.

    Args:
        sizes: Of one network.
        kind: Only this kind; "" is all of them.

    Returns:
        None where there is only one size, or nothing to multiply at one of them.
    """
    ends = sorted(sizes, key=lambda each: each.side)[:: max(1, len(sizes) - 1)][:2]
    if len(ends) < 2 or ends[0].side == ends[1].side:
        return None
    low, high = (each.macs(kind) if kind else each.cost.macs.value for each in ends)
    if low <= 0 or high <= 0:
        return None
    return math.log(high / low) / (2 * math.log(ends[1].side / ends[0].side))
