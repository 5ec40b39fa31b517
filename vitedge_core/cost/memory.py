"""Peak memory of one inference: the weights, and the activations that are alive at once, from what the trace saw."""

from __future__ import annotations

from vitedge_core.plan import FLOAT_BITS, Plan

_FLOAT_BYTES = FLOAT_BITS // 8


def weights_in_memory(plan: Plan) -> int:
    """Bytes of everything the network holds while it waits: weights packed as in a file, tables, statistics."""
    return sum(op.stored_bytes - op.header + op.constants for op in plan.ops)


def peak_activations(plan: Plan) -> int:
    """Bytes of the float32 activations alive at the worst moment, for one image, the image included."""
    return _FLOAT_BYTES * max((op.reads + op.writes + op.held for op in plan.ops), default=0)


def peak_memory(plan: Plan, batch: int = 1) -> int:
    """Bytes that one inference of `batch` images needs; nothing of Python or of an engine's own."""
    return weights_in_memory(plan) + batch * peak_activations(plan)
