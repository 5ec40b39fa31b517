"""Peak memory of one inference: the weights, and the activations that are alive at once, from what the trace saw."""

from __future__ import annotations

from dataclasses import dataclass

from vitedge_core.plan import FLOAT_BITS, Op, Plan

_FLOAT_BYTES = FLOAT_BITS // 8


@dataclass(frozen=True, slots=True)
class Moment:
    """What is in memory while one operation runs, in bytes of the whole batch; the weights always are, too.

    held: what later operations still need. reads, writes: the operation's own activations. scratch: what its kernel
    needs for itself.
    """

    path: str
    held: int
    reads: int
    writes: int
    scratch: int

    @property
    def total(self) -> int:
        """Everything but the weights."""
        return self.held + self.reads + self.writes + self.scratch


def weights_in_memory(plan: Plan) -> int:
    """Bytes of everything the network holds while it waits: weights packed as in a file, tables, statistics."""
    return sum(op.stored_bytes - op.header + op.constants for op in plan.ops)


def timeline(plan: Plan, batch: int = 1) -> tuple[Moment, ...]:
    """What is alive at each operation that has something to do with activations, in the order of the network."""
    return tuple(_moment(op, batch) for op in plan.ops if op.reads or op.writes)


def peak_activations(plan: Plan, batch: int = 1) -> int:
    """Bytes of the float32 activations alive at the worst moment, the images included."""
    return _FLOAT_BYTES * max((batch * (op.reads + op.writes + op.held) + _scratch(op, batch) for op in plan.ops),
                              default=0)  # fmt: skip


def peak_memory(plan: Plan, batch: int = 1) -> int:
    """Bytes that one inference of `batch` images needs on one thread; nothing of Python or of an engine's own."""
    return weights_in_memory(plan) + peak_activations(plan, batch)


def _scratch(op: Op, batch: int) -> int:
    return op.scratch if batch == 1 else batch * op.batch_scratch + op.repacked


def _moment(op: Op, batch: int) -> Moment:
    each = _FLOAT_BYTES * batch
    return Moment(op.path, each * op.held, each * op.reads, each * op.writes, _FLOAT_BYTES * _scratch(op, batch))
