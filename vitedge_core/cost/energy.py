"""Energy of one inference, from what one operation and one byte cost according to the literature.

Horowitz, "Computing's Energy Problem (and what we can do about it)", ISSCC 2014: one chip of 45 nm. What a newer chip
needs less is not in that table, so trust the ratio of two recipes more than either figure.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vitedge_core.cost.devices import Device
from vitedge_core.cost.roofline import activation_bytes, arithmetic_bits, weight_bytes
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plan import FLOAT_BITS, Op, Plan

_TABLE = Path(__file__).parents[1] / "published" / "energy.csv"
_PICO = 1e-12
_CACHE = 2**20  # bytes of the largest cache in the table
_ACCUMULATOR = 32  # bits of the sum of integer products
_SOURCE = "Horowitz, ISSCC 2014, 45 nm"


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules of one inference and where they go; the ends of each interval are two ways to run it, not chances.

    low: activations never leave a 1 MB cache and DRAM costs the least published; high: everything goes through DRAM at
    the most. The value lets through DRAM only what is larger than that cache.
    """

    total: Quantity
    arithmetic: Quantity
    weights: Quantity
    activations: Quantity

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them."""
        return {name: getattr(self, name).to_dict() for name in ("total", "arithmetic", "weights", "activations")}


def energy(plan: Plan, float_bits: int = FLOAT_BITS) -> Energy:
    """The energy of one inference of one image.

    Args:
        plan: At its own bits.
        float_bits: How wide the device keeps what is float, 32 or 16.
    """
    arithmetic = sum(op.macs * mac_joules(arithmetic_bits(op, float_bits), float_bits) for op in plan.ops if op.macs)
    (low, high), cached = _dram(), _per_byte("read 64 bits of a 1 MB cache")[0]
    middle = math.sqrt(low * high)
    read_once = sum(weight_bytes(op, float_bits) for op in plan.ops)
    moved = sum(activation_bytes(op, float_bits) for op in plan.ops)
    spilled = sum(activation_bytes(op, float_bits) for op in plan.ops if _spills(op, float_bits))
    weights = (read_once * low, read_once * middle, read_once * high)
    activations = (moved * cached, spilled * middle + (moved - spilled) * cached, moved * high)
    parts = ((arithmetic,) * 3, weights, activations)
    total = tuple(map(sum, zip(*parts, strict=True)))
    return Energy(
        _joules(total, "arithmetic and memory traffic"), _joules(parts[0], "multiplications and additions"),
        _joules(weights, "every weight once from DRAM"), _joules(activations, "activations read and written"),
    )  # fmt: skip


def mac_joules(bits: int, float_bits: int = FLOAT_BITS) -> float:
    """Energy of one multiply-accumulate.

    Args:
        bits: Width of both factors; as wide as `float_bits` it is a floating point number, narrower an integer.
        float_bits: 32 or 16.
    """
    if bits >= float_bits:
        return _operation("float multiply", bits) + _operation("float add", bits)
    return _operation("integer multiply", bits) + _operation("integer add", _ACCUMULATOR)


def at_full_power(device: Device, latency: Quantity) -> Quantity | None:
    """The device's power times the latency: more than one inference takes, as long as the power is not exceeded.

    Returns:
        Joules; None where no power is published.
    """
    if device.power is None:
        return None
    source = f"{device.power:g} W, the power of {device.name} at full load, for {latency.source}"
    low, high = (None if end is None else end * device.power for end in (latency.low, latency.high))
    return Quantity(latency.value * device.power, "J", Evidence.PREDICTED, source, low, high)


def _spills(op: Op, float_bits: int) -> bool:
    return activation_bytes(op, float_bits) > _CACHE


def _joules(ends: tuple[float, ...], what: str) -> Quantity:
    low, value, high = ends
    source = f"{what}, at the costs of {_SOURCE}"
    if low == high:
        return Quantity(value, "J", Evidence.PREDICTED, source)
    how = "from all in a cache to all through DRAM, which is no 95 % interval"
    return Quantity(value, "J", Evidence.PREDICTED, f"{source}; the range is {how}", min(low, value), max(high, value))


@cache
def _table() -> dict[str, dict[int, tuple[float, float]]]:
    """Joules, low and high, by what is done and its bits."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    with open(_TABLE, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            ends = float(row["low_pj"]) * _PICO, float(row["high_pj"]) * _PICO
            found.setdefault(row["what"], {})[int(row["bits"])] = ends
    return found


def _operation(what: str, bits: int) -> float:
    """Joules at any width: between two published widths a straight line in logarithms, outside the nearest of them."""
    widths = {width: low for width, (low, _) in sorted(_table()[what].items())}
    narrow = max((width for width in widths if width <= bits), default=min(widths))
    wide = min((width for width in widths if width >= bits), default=max(widths))
    if wide <= narrow:
        return widths[narrow]
    share = math.log(max(bits, narrow) / narrow) / math.log(wide / narrow)
    return widths[narrow] * (widths[wide] / widths[narrow]) ** share


def _per_byte(what: str) -> tuple[float, float]:
    ((bits, (low, high)),) = _table()[what].items()
    return 8 * low / bits, 8 * high / bits


def _dram() -> tuple[float, float]:
    return _per_byte("read 64 bits of DRAM")
