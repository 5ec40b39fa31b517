"""Numbers as people say them: the only place where k, M, G, ms and MB exist."""

from __future__ import annotations

import math
from dataclasses import replace

from vitedge_core.evidence import Quantity

MINUS = "−"
NO_DIFFERENCE = "no difference measured"
_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_SYMBOLS = {"parameter": "", "byte": "B", "s": "s", "J": "J", "MAC": "MAC"}


def human(quantity: Quantity, *, signed: bool = False, flops: bool = False) -> str:
    """A quantity with three figures and a prefix: "17.6 GMAC", "22.9 MB", "5.72 M", "78.4 %".

    Args:
        quantity: In a plain unit.
        signed: It is a difference: always with a sign, and shares in percentage points.
        flops: Say operations as FLOPs, two for each MAC.
    """
    value, unit = quantity.value, quantity.unit
    if flops and unit == "MAC":
        value, unit = 2 * value, "FLOP"
    sign = _sign(value) if signed else MINUS if value < 0 else ""
    return sign + _plain(abs(value), unit, points=signed)


def _sign(value: float) -> str:
    return "+" if value > 0 else MINUS if value < 0 else "±"


def _plain(value: float, unit: str, *, points: bool = False) -> str:
    if unit == "share":
        return f"{100 * value:.1f} points" if points else f"{100 * value:.1f} %"
    if unit == "ratio":
        return f"{_figures(value)}×"
    value = float(f"{value:.3g}")
    scale, prefix = _prefix(value, _SMALL if unit in {"s", "J"} and value < 1000 else _LARGE)
    number = f"{value:.0f}" if scale == 1 and value == int(value) else _figures(value / scale)
    return f"{number} {prefix}{_SYMBOLS.get(unit, unit)}".rstrip()


def _prefix(value: float, prefixes: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    """The largest prefix that leaves at least one before the point."""
    for scale, prefix in prefixes:
        if value >= scale:
            return scale, prefix
    return (1.0, "") if prefixes is _LARGE or value == 0 else prefixes[-1]


def _figures(value: float) -> str:
    """Three figures without an exponent."""
    digits = 2 if value == 0 else 2 - math.floor(math.log10(value) + 1e-12)
    return f"{value:.{min(max(digits, 0), 6)}f}"


def milliseconds(quantity: Quantity) -> float:
    """Seconds as a bare number of ms, for a column that sorts; its heading must say ms."""
    return 1e3 * quantity.value


def megabytes(quantity: Quantity) -> float:
    """Bytes as a bare number of MB, for a column that sorts."""
    return quantity.value / 1e6


def millijoules(quantity: Quantity) -> float:
    """Joules as a bare number of mJ, for a column that sorts."""
    return 1e3 * quantity.value


def duration(quantity: Quantity) -> str:
    """A time to wait, coarser than a measurement: "40 s", "3 min", "1 h 20 min"."""
    seconds = max(0, round(quantity.value))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


def change(before: Quantity, after: Quantity) -> str:
    """From one quantity to another: "−43 %", for shares "−1.2 points", from zero the new value with its sign."""
    moved = after.value - before.value
    if before.unit == "share":
        return _sign(moved) + _plain(abs(moved), "share", points=True)
    if before.value == 0:
        return _sign(moved) + _plain(abs(moved), after.unit)
    percent = 100 * moved / abs(before.value)
    if 0 < abs(percent) < 0.005:
        return "≈0 %"
    return f"{_sign(percent)}{_percent(abs(percent))} %"


def _percent(size: float) -> str:
    """As many decimals as tell something: 43, 4.3, 0.43, 0.04."""
    decimals = 0 if size == 0 or size >= 9.95 else 1 if size >= 0.995 else 2
    return f"{size:,.{decimals}f}"


def interval(quantity: Quantity, *, signed: bool = False, flops: bool = False) -> str:
    """Its bounds: "76.1 to 80.5 %"; "exact" for a count, "" where none is known."""
    if quantity.low is None or quantity.high is None:
        return ""
    if quantity.is_exact:
        return "exact"
    differs = signed or quantity.low < 0
    low, high = (
        human(Quantity(bound, quantity.unit, quantity.evidence, quantity.source), signed=differs, flops=flops)
        for bound in (quantity.low, quantity.high)
    )
    number, _, unit = low.partition(" ")
    return f"{number} to {high}" if unit and high.endswith(f" {unit}") else f"{low} to {high}"


def speed(ratio: Quantity) -> str:
    """A ratio of times to a baseline's as a person says it: "2.10× as fast", "1.30× as long", "no difference measured".

    What the interval does not tell apart from 1 is no difference, whatever its middle.
    """
    if not ratio.excludes(1):
        return "the baseline" if ratio.is_exact else NO_DIFFERENCE
    if ratio.value < 1:
        return f"{_figures(1 / ratio.value)}× as fast"
    return f"{_figures(ratio.value)}× as long"


def faster(ratio: Quantity) -> Quantity:
    """How many times as fast, from a ratio of times; its interval turns round with it."""
    low, high = (None if end is None else 1 / end for end in (ratio.high, ratio.low))
    source = f"baseline's time by this one's: {ratio.source}"
    return replace(ratio, value=1 / ratio.value, low=low, high=high, source=source)


def badge(quantity: Quantity) -> str:
    """How the number is known, in one word."""
    return quantity.evidence.value
