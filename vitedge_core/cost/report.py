"""What a plan costs: arithmetic on its operations, in milliseconds, without a framework.

"Theoretical" figures say what zeros would save on hardware and in formats made for them; the plain ones say what they
do on ordinary kernels and in ordinary files, where a zero costs as much as any number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vitedge_core.cost.memory import peak_memory
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plan import FLOAT_BITS, Kind, Op, Plan

MAX_BATCH = 65_536
_FRAME = 8  # bytes of a safetensors file that say how long its header is
_POINTER = 4  # bytes of a row pointer of a sparse matrix
_COUNTED = "counted on the network's shapes; matrix products and convolutions only"


@dataclass(frozen=True, slots=True)
class Part:
    """A block, or a kind of operation: its share of the costs of one image. Sizes and traffic in bytes.

    read_bytes, written_bytes: activations at their own bits; an operation also reads its weights.
    """

    label: str
    macs: int
    params: int
    weight_bytes: int
    read_bytes: int
    written_bytes: int

    @property
    def intensity(self) -> float:
        """Multiply-accumulates for each byte that is moved."""
        return self.macs / max(1, self.read_bytes + self.written_bytes + self.weight_bytes)


@dataclass(frozen=True, slots=True)
class Cost:
    """The figures of a plan; `macs`, `theoretical_macs` and `peak_memory_bytes` are those of the whole batch.

    weight_bytes: the file that is written, at the recipe's bits. dense_bytes: the same numbers in float32.
    theoretical_bytes: matrices with zeros as compressed sparse rows wherever that is smaller.
    """

    params: Quantity
    macs: Quantity
    weight_bytes: Quantity
    dense_bytes: Quantity
    peak_memory_bytes: Quantity
    theoretical_macs: Quantity
    theoretical_bytes: Quantity
    by_block: tuple[Part, ...]
    by_kind: tuple[Part, ...]


def cost(plan: Plan, batch: int = 1) -> Cost:
    """The cost of one inference.

    Args:
        plan: Of one image.
        batch: Images in the inference.

    Raises:
        VitEdgeError: The batch is no number of images.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        raise VitEdgeError(f"A batch has 1 to {MAX_BATCH} images, not {batch}.")
    macs = sum(op.macs for op in plan.ops)
    stored = [op.stored_bytes for op in plan.ops]
    params, file_bytes = plan.params, sum(stored) + _FRAME
    dense = FLOAT_BITS // 8 * params + sum(op.buffers + op.header for op in plan.ops) + _FRAME
    return Cost(
        params=_count(plan, params, "parameter", "counted on the network's modules"),
        macs=_count(plan, macs * batch, "MAC", _COUNTED),
        weight_bytes=_file(plan, file_bytes),
        dense_bytes=_file(plan, dense, "every parameter in float32, zeros included"),
        peak_memory_bytes=_memory(plan, batch),
        theoretical_macs=_theoretical(plan, macs * batch, sum(map(_skipped_macs, plan.ops)) * batch, "MAC"),
        theoretical_bytes=_theoretical(plan, file_bytes, sum(map(_saved_bytes, plan.ops)), "byte"),
        by_block=_parts(plan, stored, _block_label),
        by_kind=_parts(plan, stored, lambda op: op.kind.value),
    )


def _count(plan: Plan, value: int, unit: str, source: str) -> Quantity:
    if plan.exact:
        return Quantity.exact(value, unit, source)
    return Quantity(value, unit, Evidence.PREDICTED, f"{source}; an estimate until the weights have been looked at")


def _file(plan: Plan, value: int, how: str = "weights packed at their bits, scales, the rest in float32") -> Quantity:
    return Quantity(value, "byte", Evidence.PREDICTED, f"size of the weights file: {how}", *_band(plan, value))


def _band(plan: Plan, value: int) -> tuple[float | None, float | None]:
    """One per cent: how far a written file was ever found from this prediction."""
    return (value * 0.99, value * 1.01) if plan.exact else (None, None)


def _memory(plan: Plan, batch: int) -> Quantity:
    value = peak_memory(plan, batch)
    source = "weights and the float32 activations alive at once, from a trace of the network"
    if plan.quantised:
        return Quantity(
            value, "byte", Evidence.SIMULATED, f"{source}; weights packed, as an engine for such bits holds them"
        )
    return Quantity(value, "byte", Evidence.PREDICTED, source)


def _theoretical(plan: Plan, plain: int, saved: int, unit: str) -> Quantity:
    how = "products with zeros left out" if unit == "MAC" else "matrices with zeros as compressed sparse rows"
    return Quantity(
        plain - saved, unit, Evidence.SIMULATED, f"theoretical: {how}; ordinary kernels and files save nothing"
    )


def _skipped_macs(op: Op) -> int:
    """Products with a weight that is zero."""
    return op.macs * op.zeros // op.weights if op.zeros else 0


def _saved_bytes(op: Op) -> int:
    """What compressed sparse rows (values, a column for each, a pointer for each row) take less than all values."""
    if not op.zeros:
        return 0
    left = op.weights - op.zeros
    columns, rows = max(1, op.weights // max(1, op.outputs)), max(1, op.outputs)
    index = 1 if columns <= 2**8 else 2 if columns <= 2**16 else 4
    sparse = -(-left * op.w_bits // 8) + left * index + (rows + 1) * _POINTER
    return max(0, -(-op.weights * op.w_bits // 8) - sparse)


def _block_label(op: Op) -> str:
    """The block an operation belongs to by its path: up to the second number in it, else its first word."""
    if op.kind is Kind.EMBEDDING and "." not in op.path:
        return Kind.EMBEDDING.value
    words = op.path.split(".")
    numbers = [place for place, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: numbers[:2][-1] + 1]) if numbers else words[0]


def _parts(plan: Plan, stored: list[int], label_of: Callable[[Op], str]) -> tuple[Part, ...]:
    """Sums by label, in the order in which the labels first appear; what costs nothing is left out."""
    sums: dict[str, list[int]] = {}
    for op, size in zip(plan.ops, stored, strict=True):
        row = sums.setdefault(label_of(op), [0, 0, 0, 0, 0])
        row[0] += op.macs
        row[1] += op.params
        row[2] += size
        row[3] += op.reads * op.a_bits // 8
        row[4] += op.writes * FLOAT_BITS // 8
    return tuple(Part(label, *row) for label, row in sums.items() if row[0] or row[2])
