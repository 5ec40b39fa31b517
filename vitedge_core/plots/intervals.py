"""The interval of a quantity, as error bars of a figure and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitedge_core.evidence import Quantity
from vitedge_core.text.human import human, interval


def bars(values: Sequence[Quantity | None], top: float = float("inf")) -> dict[str, Any]:
    """Plotly's error bars from the ends of the intervals; a place without a value has none.

    Args:
        values: What the marks show.
        top: Where marks and bars are cut off.
    """
    up, down = [], []
    for value in values:
        here = 0.0 if value is None else min(value.value, top)
        low = here if value is None or value.low is None else min(value.low, top)
        high = here if value is None or value.high is None else min(value.high, top)
        up.append(high - here)
        down.append(here - low)
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.2, "width": 3}


def told(value: Quantity, *, signed: bool = False) -> str:
    """A quantity with its interval: "78.4 % (76.1 to 80.5 %)"."""
    bounds = interval(value, signed=signed)
    return f"{human(value, signed=signed)} ({bounds})" if bounds else human(value, signed=signed)
