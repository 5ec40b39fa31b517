"""What a plan costs: arithmetic on its operations, in milliseconds, without a framework.

"Theoretical" figures say what zeros would save on hardware and in formats made for them; the plain ones say what they
do on ordinary kernels and in ordinary files, where a zero costs as much as any number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from vitedge_core.cost.memory import peak_memory
from vitedge_core.cost.sizes import (
    TWO_OF_FOUR,
    dense_bytes,
    file_bytes,
    half_empty,
    pattern_of,
    sparse_row_bytes,
    two_of_four_bytes,
)
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plan import FLOAT_BITS, Kind, Op, Plan

MAX_BATCH = 65_536
_COUNTED = "counted on the network's shapes; matrix products and convolutions only"


@dataclass(frozen=True, slots=True)
class Part:
    """A block, or a kind of operation: its share of the costs of a batch. Sizes and traffic in bytes.

    weight_bytes: its share of the weights file, read once for the whole batch. read_bytes, written_bytes: activations,
    what is read at its own bits.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them."""
        return {**asdict(self), "macs_per_byte": self.intensity}


@dataclass(frozen=True, slots=True)
class Cost:
    """The figures of a plan; those of operations, traffic and memory are those of the whole batch.

    weight_bytes: the file that is written, at the recipe's bits. dense_bytes: the same numbers in float32.
    theoretical_bytes: matrices with zeros as compressed sparse rows wherever that is smaller. two_of_four_bytes: those
    with enough zeros in the 2:4 format.
    """

    params: Quantity
    macs: Quantity
    weight_bytes: Quantity
    dense_bytes: Quantity
    peak_memory_bytes: Quantity
    theoretical_macs: Quantity
    theoretical_bytes: Quantity
    two_of_four_bytes: Quantity
    by_block: tuple[Part, ...]
    by_kind: tuple[Part, ...]

    @property
    def figures(self) -> dict[str, Quantity]:
        """Everything but the parts, by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Quantity)}


def cost(plan: Plan, batch: int = 1) -> Cost:
    """The cost of one inference.

    Args:
        plan: Of one image.
        batch: Images in the inference.

    Raises:
        VitEdgeError: The batch is no number of images.
    """
    check_batch(batch)
    macs = sum(op.macs * op.times(batch) for op in plan.ops)
    skipped = sum(_skipped_macs(op) * op.times(batch) for op in plan.ops)
    stored = [op.stored_bytes for op in plan.ops]
    return Cost(
        params=_count(plan, plan.params, "parameter", "counted on the network's modules"),
        macs=_count(plan, macs, "MAC", _COUNTED),
        weight_bytes=_file(plan, file_bytes(plan)),
        dense_bytes=_file(plan, dense_bytes(plan), "every parameter in float32, zeros included"),
        peak_memory_bytes=_memory(plan, batch),
        theoretical_macs=_theoretical(macs - skipped, "MAC", "products with zeros left out"),
        theoretical_bytes=_theoretical(sparse_row_bytes(plan), "byte", "matrices with zeros as compressed sparse rows"),
        two_of_four_bytes=_theoretical(two_of_four_bytes(plan), "byte", _told_of_pattern(plan)),
        by_block=_parts(plan, stored, batch, block_label),
        by_kind=_parts(plan, stored, batch, lambda op: op.kind.value, idle=True),
    )  # fmt: skip


def check_batch(batch: int) -> None:
    """Nothing, if it is a number of images.

    Raises:
        VitEdgeError: It is none.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        raise VitEdgeError(f"A batch has 1 to {MAX_BATCH} images, not {batch}.")


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


def _theoretical(value: int, unit: str, how: str) -> Quantity:
    return Quantity(value, unit, Evidence.SIMULATED, f"theoretical: {how}; ordinary kernels and files save nothing")


def _told_of_pattern(plan: Plan) -> str:
    """What the 2:4 format would hold, and whether the zeros lie as it wants them."""
    held = half_empty(plan)
    if not held:
        return "no matrix has half of its weights zero, so the 2:4 format could hold none"
    matrices = "matrix" if held == 1 else "matrices"
    if pattern_of(plan) == TWO_OF_FOUR:
        return f"{held} {matrices} in the 2:4 format, half of the values and two bits for the place of each"
    return (
        f"{held} {matrices} in the 2:4 format, if of every four weights in a row two were zero; these zeros lie "
        "anywhere, so the model would have to be pruned anew in that pattern"
    )


def _skipped_macs(op: Op) -> int:
    """Products with a weight that is zero."""
    return op.macs * op.zeros // op.weights if op.zeros else 0


def block_label(op: Op) -> str:
    """The block an operation belongs to by its path: up to the second number in it, else its first word."""
    if op.kind is Kind.EMBEDDING and "." not in op.path:
        return Kind.EMBEDDING.value
    words = op.path.split(".")
    numbers = [place for place, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: numbers[:2][-1] + 1]) if numbers else words[0]


def _parts(
    plan: Plan, stored: list[int], batch: int, label_of: Callable[[Op], str], *, idle: bool = False
) -> tuple[Part, ...]:
    """Sums by label, in the order in which the labels first appear.

    What neither multiplies nor holds weights is left out, unless `idle` asks for what it moves.
    """
    sums: dict[str, list[int]] = {}
    for op, size in zip(plan.ops, stored, strict=True):
        row = sums.setdefault(label_of(op), [0, 0, 0, 0, 0])
        times = op.times(batch)
        row[0] += op.macs * times
        row[1] += op.params
        row[2] += size
        row[3] += times * op.reads * op.a_bits // 8
        row[4] += times * op.writes * FLOAT_BITS // 8
    return tuple(Part(label, *row) for label, row in sums.items() if row[0] or row[2] or idle)
