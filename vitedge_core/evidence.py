"""A number and what it rests on. No bare float is ever shown to a person."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Evidence(StrEnum):
    """How a number came about; shown as a badge beside it."""

    MEASURED = "measured"  # counted or timed here, on the real model
    PREDICTED = "predicted"  # computed by a model of ours that can be wrong; carries its band
    PUBLISHED = "published"  # taken from a paper or a repository, with its source
    IMPORTED = "imported"  # said by a file with somebody's runs; nobody checked it here
    SIMULATED = "simulated"  # what it would be if hardware existed for it (fake quantisation, zeros)


_KINDS = {kind.value: kind for kind in Evidence}  # an enumeration's own look-up is slow for thousands of runs


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value in a plain unit ("parameter", "MAC", "byte", "s", "share"), its evidence and its interval.

    `low` and `high` bound the value at 95 % unless the source says otherwise; both None means that no interval is
    known, equal to the value that it is exact.
    """

    value: float
    unit: str
    evidence: Evidence
    source: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not self.unit or not self.source:
            raise ValueError("a quantity needs a unit and a source")
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval needs both ends")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} lies outside its interval {self.low} to {self.high}")

    @classmethod
    def exact(cls, value: float, unit: str, source: str, evidence: Evidence = Evidence.MEASURED) -> Quantity:
        """A number without uncertainty, such as a count."""
        return cls(value, unit, evidence, source, value, value)

    @property
    def is_exact(self) -> bool:
        """Whether the interval is the value itself."""
        return self.low == self.value == self.high

    def excludes(self, value: float) -> bool:
        """Whether the interval leaves this value out; without an interval nothing can be left out."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high

    def weaker(self, evidence: Evidence, source: str) -> Quantity:
        """The same value on other evidence, without an interval."""
        return replace(self, evidence=evidence, source=source, low=None, high=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them."""
        return {
            "value": self.value, "unit": self.unit, "evidence": self.evidence.value,
            "source": self.source, "low": self.low, "high": self.high,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: Any) -> Quantity:
        """The quantity that `to_dict` gave; it may come from a stranger's file.

        Raises:
            ValueError: The values are of another form.
        """
        try:
            names = ("value", "unit", "evidence", "source", "low", "high")
            value, unit, evidence, source, low, high = (plain[name] for name in names)
            numbers = [number for number in (value, low, high) if number is not None]
            if value is None or not all(math.isfinite(number) for number in numbers):
                raise ValueError("no finite number")
            return cls(value, str(unit), _KINDS[evidence], str(source), low, high)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError("no quantity") from error


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a share: Wilson, "Probable inference, the law of succession", JASA 1927."""
    if not 0 <= right <= total or total == 0:
        raise ValueError(f"{right} of {total} is no share")
    p = right / total
    centre = p + z * z / (2 * total)
    spread = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, min(p, (centre - spread) / scale)), min(1.0, max(p, (centre + spread) / scale))
