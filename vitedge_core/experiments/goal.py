"""What a sweep is after: the figures it trades against each other, and what a recipe must keep to.

A limit is written as people write it, "weight_bytes <= 5 MB" or "lost <= 1 point", and kept in plain units.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from vitedge_core.cost.report import cost
from vitedge_core.errors import VitEdgeError, unknown
from vitedge_core.evidence import Quantity
from vitedge_core.experiments.evaluation import COSTS, Evaluation
from vitedge_core.experiments.store import Direction
from vitedge_core.plan import Plan

DEVICE_SECONDS, DEVICE_JOULES = "device_seconds", "device_joules"
LATENCY, KEPT, LOST = "latency_seconds", "attention_kept", "lost"
GAINS = ("accuracy", KEPT)  # the more the better
ON_DEVICE = (DEVICE_SECONDS, DEVICE_JOULES)
LESS = (*COSTS, *ON_DEVICE, LATENCY)  # the less the better
MEASURED = ("accuracy", KEPT, LOST, LATENCY)  # known only after a measurement
MOST_OBJECTIVES, MOST_LIMITS = 4, 12
_PREFIXES = {"": 1.0, "n": 1e-9, "µ": 1e-6, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS = {
    "macs": ("MACs", "MAC", ""), "params": ("",), "weight_bytes": ("B",), "peak_memory_bytes": ("B",), LATENCY: ("s",),
    DEVICE_SECONDS: ("s",), DEVICE_JOULES: ("J",),
}  # fmt: skip
_SHARES = {"": 1.0, "%": 0.01, "point": 0.01, "points": 0.01}
_LIMIT = re.compile(r"\s*(\w+)\s*(<=|>=|≤|≥)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([^\s\d]*)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure of a recipe must not exceed `most`, or not fall below `least`; the other one is None."""

    figure: str
    most: float | None = None
    least: float | None = None

    @classmethod
    def parse(cls, text: object) -> Limit:
        """Read "weight_bytes <= 5 MB".

        Raises:
            VitEdgeError: It is written otherwise, or names a figure or a unit that nobody knows.
        """
        found = _LIMIT.fullmatch(text) if isinstance(text, str) and len(text) <= 100 else None
        if found is None:
            raise VitEdgeError(f'A limit is written like "weight_bytes <= 5 MB", which {str(text)[:60]!r} is not.')
        figure, sign, number, unit = found.groups()
        if figure not in (*GAINS, *LESS, LOST):
            raise unknown("figure to limit", figure, (*GAINS, *LESS, LOST))
        try:
            value = float(number) * _scale(figure, unit)
        except ValueError as error:
            raise VitEdgeError(f"{number} in the limit {text!r} is no number.") from error
        if not math.isfinite(value):
            raise VitEdgeError(f"{number} in the limit {text!r} is not finite.")
        return cls(figure, most=value) if sign in "<=≤" else cls(figure, least=value)

    def __str__(self) -> str:
        return f"{self.figure} <= {self.most:g}" if self.most is not None else f"{self.figure} >= {self.least:g}"

    def excess(self, figure: Quantity) -> float:
        """How far a figure is beyond the limit, as a share of the limit; 0 or less keeps to it."""
        size = abs(self.most if self.most is not None else self.least or 0.0) or 1.0
        return self._beyond(figure.value) / size

    def broken(self, figure: Quantity) -> bool:
        """Whether even the better end of a figure's interval is beyond the limit."""
        ends = [end for end in (figure.low, figure.value, figure.high) if end is not None]
        return self._beyond(min(ends) if self.most is not None else max(ends)) > 0

    def _beyond(self, value: float) -> float:
        if self.most is not None:
            return value - self.most
        assert self.least is not None
        return self.least - value


@dataclass(frozen=True, slots=True)
class Goal:
    """objectives: the first is a gain, the others costs. limits: what a recipe must keep to. device: of predictions."""

    objectives: tuple[str, ...] = ("accuracy", "macs")
    limits: tuple[Limit, ...] = ()
    device: str = ""

    @property
    def figures(self) -> tuple[str, ...]:
        """Every figure that objectives and limits need, each once."""
        return tuple(dict.fromkeys((*self.objectives, *(limit.figure for limit in self.limits))))

    @property
    def directions(self) -> list[Direction]:
        """What Optuna calls them."""
        return ["maximize" if name in GAINS else "minimize" for name in self.objectives]

    @property
    def on_device(self) -> bool:
        """Whether a device is predicted."""
        return any(name in ON_DEVICE for name in self.figures)

    def check(self) -> None:
        """Refuse what cannot be aimed at.

        Raises:
            VitEdgeError: An objective nobody knows, none that gains, limits that exclude each other, no such device.
        """
        for name in self.objectives:
            if name not in (*GAINS, *LESS):
                raise unknown("objective", name, (*GAINS, *LESS))
        if len(set(self.objectives)) < len(self.objectives):
            raise VitEdgeError("An objective can be named only once.")
        gains = [name for name in self.objectives if name in GAINS]
        if self.objectives[:1] != tuple(gains) or not 2 <= len(self.objectives) <= MOST_OBJECTIVES:
            raise VitEdgeError(
                f"A sweep trades accuracy or {KEPT}, named first, against one to {MOST_OBJECTIVES - 1} costs: "
                f"{', '.join(LESS)}."
            )
        if len(self.limits) > MOST_LIMITS:
            raise VitEdgeError(f"A sweep has at most {MOST_LIMITS} limits.")
        self._check_limits()
        if self.on_device:
            _targets(self.device)

    def _check_limits(self) -> None:
        for name in {limit.figure for limit in self.limits}:
            own = [limit for limit in self.limits if limit.figure == name]
            most = min((limit.most for limit in own if limit.most is not None), default=math.inf)
            least = max((limit.least for limit in own if limit.least is not None), default=-math.inf)
            if most < least:
                raise VitEdgeError(f"The limits of {name} contradict each other: at least {least:g}, at most {most:g}.")

    def planned(self, plan: Plan) -> dict[str, Quantity]:
        """The figures that a plan tells without any measurement.

        Raises:
            VitEdgeError: A figure on the device is asked for, and nobody can predict this plan there.
        """
        known = cost(plan).figures
        found = {name: known[name] for name in self.figures if name in known}
        if self.on_device:
            found |= dict(zip(ON_DEVICE, on_device(plan, self.device), strict=True))
        return found

    def all_of(self, evaluation: Evaluation, plan: Plan) -> dict[str, Quantity]:
        """The figures of a recipe that was measured."""
        return {**self.planned(plan), **evaluation.compressed, LOST: lost(evaluation.difference)}

    def values(self, figures: Mapping[str, Quantity]) -> list[float]:
        """The objectives' values, for Optuna.

        Raises:
            VitEdgeError: One of them could not be measured.
        """
        missing = [name for name in self.objectives if name not in figures]
        if missing:
            raise VitEdgeError(f"{missing[0]} could not be measured for this recipe.")
        return [figures[name].value for name in self.objectives]

    def excesses(self, figures: Mapping[str, Quantity]) -> dict[str, float]:
        """How far each limit is exceeded, those whose figure is known."""
        return {str(limit): limit.excess(figures[limit.figure]) for limit in self.limits if limit.figure in figures}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "objectives": list(self.objectives), "limits": [str(limit) for limit in self.limits],
            "device": self.device,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Goal:
        """The goal such values describe; what is left out is accuracy against MACs.

        Raises:
            VitEdgeError: Something else.
        """
        objectives, limits = plain.get("objectives", ["accuracy", "macs"]), plain.get("limits", [])
        device = plain.get("device", "")
        if not isinstance(objectives, list) or not isinstance(limits, list) or not isinstance(device, str):
            raise VitEdgeError('"objectives" and "limits" of a space are lists of texts, "device" is a text.')
        return cls(tuple(map(str, objectives)), tuple(map(Limit.parse, limits)), device[:100])


def lost(difference: Quantity) -> Quantity:
    """The accuracy that was lost, from the paired difference: positive is worse."""
    low, high = (None if end is None else -end for end in (difference.high, difference.low))
    return Quantity(-difference.value, difference.unit, difference.evidence, difference.source, low, high)


def on_device(plan: Plan, device: str) -> tuple[Quantity, Quantity]:
    """Latency and energy of one image on a device, by the fastest of its runtimes that can be predicted.

    Raises:
        VitEdgeError: None of them can; the sentence is the first one's.
    """
    from vitedge_core.cost.edge_latency import edge_latencies
    from vitedge_core.cost.edge_report import edge_rows

    rows = edge_rows(plan, plan, _targets(device), edge_latencies())
    known = [(row.latency, row.joules) for row in rows if row.latency is not None]
    if not known:
        raise VitEdgeError(f"Nothing can be predicted on {device}: {rows[0].why}")
    return min(known, key=lambda pair: pair[0].value)


@lru_cache(maxsize=16)
def _targets(device: str) -> Sequence[Any]:
    from vitedge_core.cost.edge_latency import edge_latencies
    from vitedge_core.experiments.edge import chosen

    if not device:
        raise VitEdgeError(f"Name the device whose {DEVICE_SECONDS} or {DEVICE_JOULES} is to be predicted.")
    return chosen((device,), edge_latencies())


def _scale(figure: str, unit: str) -> float:
    """What a number in this unit is in plain units."""
    if figure not in _UNITS:
        if unit in _SHARES:
            return _SHARES[unit]
        raise VitEdgeError(f"{figure} is a share: write 0.01, 1 % or 1 point, not {unit[:20]!r}.")
    for name in _UNITS[figure]:
        prefix = unit.removesuffix(name) if name else unit
        if unit.endswith(name) and prefix in _PREFIXES:
            return _PREFIXES[prefix]
    if not unit:
        return 1.0
    example = next(iter(_UNITS[figure])) or "M"
    raise VitEdgeError(f"{unit[:20]!r} is no unit of {figure}; write a plain number or one in {example}.")
