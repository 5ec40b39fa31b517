"""Each operation under a device's roof: what it could reach, what holds it back, and its share of the time.

Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model for Multicore Architectures",
Communications of the ACM 52(4), 2009: no operation is faster than its arithmetic at the peak, nor than its bytes at the
bandwidth. Every operation is taken to fetch its operands from the main memory and to bring its result back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vitedge_core.cost.devices import Device
from vitedge_core.cost.report import block_label
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plan import FLOAT_BITS, Kind, Op, Plan


class Bound(StrEnum):
    """What an operation waits for."""

    COMPUTE = "compute"
    MEMORY = "memory"
    UNKNOWN = "unknown"  # a peak or the bandwidth is unpublished


@dataclass(frozen=True, slots=True)
class Point:
    """One operation, or a sum of them, under the roof; of one image.

    macs and moved (bytes) give its place to the right, macs over seconds its height. bits: width of its arithmetic,
    0 in a sum of several widths. seconds: the least it takes; 0 where nothing is known. share: of all seconds.
    bound: of a sum, where most of its seconds are.
    """

    label: str
    kind: Kind | None
    macs: int
    moved: int
    bits: int
    seconds: float
    share: float
    bound: Bound

    @property
    def intensity(self) -> float:
        """Multiply-accumulates for each byte that is moved."""
        return self.macs / max(1, self.moved)

    @property
    def macs_per_second(self) -> float:
        """What it reaches if nothing but the roof holds it back; 0 where that is not known."""
        return self.macs / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them; seconds are None where nothing is known."""
        return {
            "label": self.label, "kind": self.kind.value if self.kind else None, "macs": self.macs,
            "bytes": self.moved, "macs_per_byte": self.intensity, "bound": self.bound.value,
            "seconds": self.seconds or None, "share": self.share,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Roofline:
    """A plan under a device's roof.

    peaks: MAC/s by bits of arithmetic, of the widths that the plan uses and somebody published. missing: a sentence
    for each figure that nobody published. seconds: the sum of the points; floor: what even perfect reuse of every
    value on the chip would take. Both None where a figure for them is missing.
    """

    device: Device
    float_bits: int
    points: tuple[Point, ...]
    by_kind: tuple[Point, ...]
    by_block: tuple[Point, ...]
    peaks: tuple[tuple[int, float], ...]
    missing: tuple[str, ...]
    seconds: Quantity | None
    floor: Quantity | None

    @property
    def memory_share(self) -> float:
        """Share of the seconds that wait for memory."""
        return sum(point.share for point in self.points if point.bound is Bound.MEMORY)

    @property
    def bound(self) -> Bound:
        """What most of the time waits for."""
        return _most((point.bound, point.seconds) for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them."""
        return {
            "device": self.device.name, "float_bits": self.float_bits, "bound": self.bound.value,
            "memory_share": self.memory_share, "missing": list(self.missing),
            "seconds": self.seconds.to_dict() if self.seconds else None,
            "floor": self.floor.to_dict() if self.floor else None,
            "by_kind": [point.to_dict() for point in self.by_kind],
            "by_block": [point.to_dict() for point in self.by_block],
            "operations": [point.to_dict() for point in self.points],
        }  # fmt: skip


def roofline(plan: Plan, device: Device, float_bits: int = FLOAT_BITS) -> Roofline:
    """Every operation of a plan under the roof of a device, one image.

    Args:
        plan: At its own bits; an operation whose weights or activations stay in float computes in float.
        device: Peaks and bandwidth.
        float_bits: How wide the device keeps what is float: 32, or 16 where the runtime halves it.
    """
    bare = [_point(op, device, float_bits) for op in plan.ops if op.macs or op.reads or op.writes]
    total = sum(point.seconds for _, point in bare)
    pairs = [(op, _shared(point, total)) for op, point in bare]
    points = tuple(point for _, point in pairs)
    missing = _missing(points, device)
    widths = sorted({point.bits for point in points if point.macs})
    peaks = tuple((bits, peak) for bits in widths if (peak := device.macs_per_second(bits)))
    return Roofline(
        device, float_bits, points, _sums(pairs, lambda op: op.kind.value), _sums(pairs, block_label), peaks, missing,
        None if missing else _seconds(device, total), None if missing else _floor(plan, points, device, float_bits),
    )  # fmt: skip


def moved_bytes(op: Op, float_bits: int = FLOAT_BITS) -> int:
    """Bytes an operation moves: its weights and activations at their bits, what it writes in float."""
    return weight_bytes(op, float_bits) + activation_bytes(op, float_bits)


def weight_bytes(op: Op, float_bits: int = FLOAT_BITS) -> int:
    """Bytes of the parameters an operation reads: packed weights, their scales, the rest in float."""
    return -(-op.weights * min(op.w_bits, float_bits) // 8) + op.scales + op.others * float_bits // 8


def activation_bytes(op: Op, float_bits: int = FLOAT_BITS) -> int:
    """Bytes of the activations an operation reads, at their bits, and of those it writes, in float."""
    return (op.reads * min(op.a_bits, float_bits) + op.writes * float_bits) // 8


def arithmetic_bits(op: Op, float_bits: int = FLOAT_BITS) -> int:
    """Width of the arithmetic: that of the wider factor. Weights alone in few bits are still multiplied in float."""
    return min(max(op.w_bits if op.weights else 0, op.a_bits), float_bits)


def _point(op: Op, device: Device, float_bits: int) -> tuple[Op, Point]:
    bits, moved = arithmetic_bits(op, float_bits), moved_bytes(op, float_bits)
    peak = device.macs_per_second(bits)
    compute = op.macs / peak if peak else 0.0
    memory = moved / device.bandwidth if device.bandwidth else 0.0
    if (op.macs and not peak) or not device.bandwidth:
        bound = Bound.UNKNOWN
    else:
        bound = Bound.COMPUTE if compute >= memory else Bound.MEMORY
    return op, Point(op.path, op.kind, op.macs, moved, bits, max(compute, memory), 0.0, bound)


def _shared(point: Point, total: float) -> Point:
    return Point(point.label, point.kind, point.macs, point.moved, point.bits, point.seconds,
                 point.seconds / total if total else 0.0, point.bound)  # fmt: skip


def _sums(pairs: list[tuple[Op, Point]], label_of: Callable[[Op], str]) -> tuple[Point, ...]:
    """Sums by label, in the order in which the labels first appear."""
    groups: dict[str, list[Point]] = {}
    for op, point in pairs:
        groups.setdefault(label_of(op), []).append(point)
    return tuple(_sum(label, group) for label, group in groups.items())


def _sum(label: str, group: list[Point]) -> Point:
    kinds, widths = {point.kind for point in group}, {point.bits for point in group}
    return Point(
        label, kinds.pop() if len(kinds) == 1 else None, sum(p.macs for p in group), sum(p.moved for p in group),
        widths.pop() if len(widths) == 1 else 0, sum(p.seconds for p in group), sum(p.share for p in group),
        _most((p.bound, p.seconds) for p in group),
    )  # fmt: skip


def _most(parts: Iterable[tuple[Bound, float]]) -> Bound:
    """The bound with most of the seconds; unknown as soon as one part of it is."""
    sums = dict.fromkeys(Bound, 0.0)
    for bound, seconds in parts:
        if bound is Bound.UNKNOWN:
            return bound
        sums[bound] += seconds
    return Bound.COMPUTE if sums[Bound.COMPUTE] >= sums[Bound.MEMORY] else Bound.MEMORY


def _missing(points: tuple[Point, ...], device: Device) -> tuple[str, ...]:
    widths = sorted({p.bits for p in points if p.macs and not device.macs_per_second(p.bits)})
    said = [_unpublished_peak(device, bits) for bits in widths[-1:]]
    if not device.bandwidth:
        said.append(
            f"No memory bandwidth of {device.name} is published, so whether an operation waits for memory is not known."
        )
    return tuple(said)


def _unpublished_peak(device: Device, bits: int) -> str:
    held = [width for width, _ in device.peaks]
    if not held:
        return f"No peak of {device.name} is published, so what its arithmetic could reach is not known."
    return (
        f"No peak of {device.name} for {bits}-bit arithmetic is published, only for "
        f"{' and '.join(str(width) for width in sorted(held))} bits: bring every layer to so few bits, or choose "
        "another device."
    )


def _seconds(device: Device, total: float) -> Quantity:
    source = (
        f"roofline of {device.name}: each operation at its peak or at the memory's bandwidth, whichever is slower, "
        "one after the other; real kernels reach a part of it"
    )
    return Quantity(total, "s", Evidence.PREDICTED, source)


def _floor(plan: Plan, points: tuple[Point, ...], device: Device, float_bits: int) -> Quantity:
    """All arithmetic at its peak, or every weight and the image read once: the slower of the two."""
    compute = sum(p.macs / peak for p in points if p.macs and (peak := device.macs_per_second(p.bits)))
    channels, height, width = plan.image
    once = sum(weight_bytes(op, float_bits) for op in plan.ops) + channels * height * width * float_bits // 8
    least = max(compute, once / (device.bandwidth or 1.0))
    source = (
        f"floor of {device.name}: all arithmetic at its peak, or every weight read once from its memory; "
        "nothing is faster"
    )
    return Quantity(least, "s", Evidence.PREDICTED, source)
