"""What a runtime sees of a plan: multiply-accumulates, elements moved and kernels started, by kind of operation.

Runtimes fold batch norms into the layer before, so those count nothing; zeros count as much as any number.
"""

from __future__ import annotations

import math
from dataclasses import asdict, astuple, dataclass, fields

from vitedge_core.plan import Kind, Op, Plan

_CONVOLUTIONS = (Kind.CONVOLUTION, Kind.PATCH_EMBED)
_ATTENTION = (Kind.ATTENTION, Kind.TOKENS)
_NARROW = 16  # inputs of an output up to which a product is bound by memory on any chip
_WINDOW = 11  # side of the largest depthwise window


@dataclass(frozen=True, slots=True)
class Features:
    """Counts of one image. Elements are activations that go in and out; an operation is one kernel at least.

    dense: products with a matrix; convolved: with a convolution; narrow: depthwise or in small groups; attended: of
    two activations, token merging included.
    """

    dense_macs: float = 0
    convolved_macs: float = 0
    narrow_macs: float = 0
    attended_macs: float = 0
    parameters: float = 0
    product_elements: float = 0
    narrow_elements: float = 0
    attended_elements: float = 0
    norm_elements: float = 0
    other_elements: float = 0
    products: float = 0
    narrow_products: float = 0
    attended_operations: float = 0
    norms: float = 0
    other_operations: float = 0

    @property
    def macs(self) -> float:
        """All multiply-accumulates."""
        return self.dense_macs + self.convolved_macs + self.narrow_macs + self.attended_macs

    @property
    def values(self) -> tuple[float, ...]:
        """The counts in the order of their names."""
        return astuple(self)

    def plain(self) -> dict[str, float]:
        """The counts by name."""
        return asdict(self)


NAMES = tuple(field.name for field in fields(Features))


def features(plan: Plan, *, folded_norms: bool = False) -> Features:
    """The features of one image of a plan.

    Args:
        plan: Compressed or not; every operation counts by its own shape.
        folded_norms: All its norms are batch norms, whatever the trace saw.
    """
    counts = dict.fromkeys(NAMES, 0.0)
    for op in plan.ops:
        counts["parameters"] += op.params
        for name, value in _counts(op, folded_norms):
            counts[name] += value
    return Features(**counts)


def _counts(op: Op, folded_norms: bool) -> tuple[tuple[str, float], ...]:
    elements = op.reads + op.writes
    if op.kind is Kind.EMBEDDING or (op.kind is Kind.NORM and (op.buffers or folded_norms)):
        return ()
    if op.kind in _ATTENTION:
        return (("attended_macs", op.macs), ("attended_elements", elements), ("attended_operations", 1))
    if not op.macs:
        kind, how_many = ("norm", "norms") if op.kind is Kind.NORM else ("other", "other_operations")
        return ((f"{kind}_elements", elements), (how_many, 1))
    if _is_narrow(op):
        return (("narrow_macs", op.macs), ("narrow_elements", elements), ("narrow_products", 1))
    kind = "convolved" if op.kind in _CONVOLUTIONS else "dense"
    return ((f"{kind}_macs", op.macs), ("product_elements", elements), ("products", 1))


def _is_narrow(op: Op) -> bool:
    """Few inputs for each output: a square window over one channel (its side is odd), or a small group."""
    side = math.isqrt(op.inputs)
    return op.inputs <= _NARROW or (side * side == op.inputs and side % 2 == 1 and side <= _WINDOW)
