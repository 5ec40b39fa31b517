"""What the weights take: as numbers of 32 bits, in the file that is written, and in formats made for zeros.

The last are theoretical: nothing here writes them, and ordinary kernels do not read them. Compressed sparse rows take
any zeros. The 2:4 format (Mishra et al., "Accelerating sparse deep neural networks", 2021, arXiv 2104.08378) takes only
zeros of one pattern: of every four weights in a row at least two.
"""

from __future__ import annotations

from vitedge_core.plan import FLOAT_BITS, Op, Plan

TWO_OF_FOUR = "2:4"
_FRAME = 8  # bytes of a safetensors file that say how long its header is
_POINTER = 4  # bytes of a row pointer of a sparse matrix
_PLACE = 2  # bits that say which of four places a value has


def file_bytes(plan: Plan) -> int:
    """The weights file: integers packed at their bits, scales and zero points, the rest in float32, names."""
    return sum(op.stored_bytes for op in plan.ops) + _FRAME


def dense_bytes(plan: Plan) -> int:
    """Every parameter in float32, zeros included."""
    return FLOAT_BITS // 8 * plan.params + sum(op.buffers + op.header for op in plan.ops) + _FRAME


def sparse_row_bytes(plan: Plan) -> int:
    """The file if matrices with zeros were compressed sparse rows wherever that is smaller."""
    return file_bytes(plan) - sum(max(0, _packed(op) - _sparse_rows(op)) for op in plan.ops if op.zeros)


def two_of_four_bytes(plan: Plan) -> int:
    """The file if matrices of which half is zero were kept in the 2:4 format; their zeros must lie so."""
    return file_bytes(plan) - sum(max(0, _packed(op) - _two_of_four(op)) for op in plan.ops if _half_zero(op))


def pattern_of(plan: Plan) -> str:
    """The pattern of zeros that all half-empty matrices have, "" where they may lie anywhere or there are none."""
    patterns = {op.pattern for op in plan.ops if _half_zero(op)}
    return patterns.pop() if len(patterns) == 1 else ""


def half_empty(plan: Plan) -> int:
    """How many matrices have so many zeros that the 2:4 format could hold them."""
    return sum(map(_half_zero, plan.ops))


def _half_zero(op: Op) -> bool:
    return op.weights > 0 and 2 * op.zeros >= op.weights and op.inputs % 4 == 0


def _packed(op: Op) -> int:
    return -(-op.weights * op.w_bits // 8)


def _sparse_rows(op: Op) -> int:
    """Values at their bits, a column number for each, a pointer for each row and one behind the last."""
    left = op.weights - op.zeros
    columns, rows = max(1, op.weights // max(1, op.outputs)), max(1, op.outputs)
    index = 1 if columns <= 2**8 else 2 if columns <= 2**16 else 4
    return -(-left * op.w_bits // 8) + left * index + (rows + 1) * _POINTER


def _two_of_four(op: Op) -> int:
    """Half of the values at their bits, and two bits for the place of each."""
    half = op.weights // 2
    return -(-half * op.w_bits // 8) + -(-half * _PLACE // 8)
