"""What an inference may take, and whether a figure with an interval stays inside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Quantity


class Fit(StrEnum):
    """Whether something fits. Maybe: the limit lies inside the interval, or only some variants are large enough."""

    YES = "yes"
    MAYBE = "maybe"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one inference in seconds, bytes of memory and joules; None is no limit.

    Raises:
        VitEdgeError: A limit is no number above 0.
    """

    seconds: float | None = None
    bytes: float | None = None
    joules: float | None = None

    def __post_init__(self) -> None:
        for name, limit in (("time", self.seconds), ("memory", self.bytes), ("energy", self.joules)):
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise VitEdgeError(f"The budget of {name} must be a number above 0, not {limit}.")


def within(quantity: Quantity | None, limit: float | None) -> Fit:
    """Whether a figure stays below a limit, its whole interval considered; without a limit it always does."""
    if limit is None:
        return Fit.YES
    if quantity is None:
        return Fit.UNKNOWN
    low = quantity.value if quantity.low is None else quantity.low
    high = quantity.value if quantity.high is None else quantity.high
    return Fit.YES if high <= limit else Fit.NO if low > limit else Fit.MAYBE


def holds(quantity: Quantity, variants: Sequence[float]) -> Fit:
    """Whether a device's memory holds it; maybe where only its larger variants do.

    Args:
        quantity: Bytes.
        variants: Bytes of each variant that is sold; empty where nobody says.
    """
    if not variants:
        return Fit.UNKNOWN
    enough = [quantity.value <= variant for variant in variants]
    return Fit.YES if all(enough) else Fit.MAYBE if any(enough) else Fit.NO


def together(fits: Iterable[Fit]) -> Fit:
    """Of several conditions: the worst, and unknown only where nothing else speaks against it."""
    found = set(fits)
    return next((fit for fit in (Fit.NO, Fit.MAYBE, Fit.UNKNOWN) if fit in found), Fit.YES)
