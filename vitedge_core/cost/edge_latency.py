"""Latencies on named edge devices: what was published, what the model predicts, and how far it was ever off.

A prediction stands on the plan's own layers, never on a scaled total, and carries an interval that held for 80 % of the
rows that a fit had not seen. What the published rows cannot support is out of domain and says why.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from vitedge_core.cost.edge_domain import plan_flags, recipe_refusal, refusal
from vitedge_core.cost.edge_interval import COVERAGE, Situation, Widths
from vitedge_core.cost.edge_model import Example, LatencyModel, Point
from vitedge_core.cost.edge_rows import rows
from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.features import features
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plan import Plan

_EXPLAINED = 0.1  # share of the time that a promise of the chip must explain to be what binds
_OUTSIDE = math.log(2)
_SHARED = (
    lambda target: target.key,
    lambda target: (target.device, target.engine),
    lambda target: target.device,
    lambda target: (target.engine, target.arithmetic),
)


@dataclass(frozen=True, slots=True)
class Residual:
    """A measured latency and what a fit said of it that had seen no row of its network, on any device."""

    example: Example
    predicted: Quantity

    @property
    def measured(self) -> Quantity:
        """The latency with its source."""
        evidence = Evidence.MEASURED if self.example.own else Evidence.PUBLISHED
        return Quantity(self.example.seconds, "s", evidence, self.example.source)

    @property
    def ratio(self) -> float:
        """Predicted by measured: above 1 the prediction was too slow."""
        return self.predicted.value / self.example.seconds


@dataclass(frozen=True, slots=True)
class Prediction:
    """The latency of one inference of the batch.

    latency: seconds with their 80 % interval. floor: seconds at the chip's peak, None where nobody published one.
    bound: "compute", "memory", "overhead" where neither explains the time, "" where the data sheet is silent. nearest:
    the measured row most like it, from the same target or else from what it shares most with. flags: sentences that a
    reader must see.
    """

    target: Target
    batch: int
    latency: Quantity
    floor: Quantity | None
    bound: str
    nearest: Residual | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutOfDomain:
    """Why no latency is predicted, in one sentence."""

    target: Target
    batch: int
    reason: str


class EdgeLatencies:
    """Predictions from the published rows and, where given, from measurements of one's own.

    Args:
        own: Their devices become targets, and what they share with others is learnt from them, too.
    """

    def __init__(self, own: Sequence[Example] = ()) -> None:
        self.examples = (*(row.example for row in rows()), *own)

    @cached_property
    def model(self) -> LatencyModel:
        """The fit; about a second when it is first asked for."""
        return LatencyModel(self.examples)

    @cached_property
    def widths(self) -> Widths:
        """How wide an interval must be to hold 80 % of what was held out."""
        return Widths.of(self.model)

    @cached_property
    def _measured(self) -> frozenset[tuple[Target, int]]:
        return frozenset((example.target, example.batch) for example in self.examples)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Every device, runtime and precision with a measured latency, and how many it has."""
        counts = Counter(example.target.key for example in self.examples)
        return tuple(Target(*key, rows=count) for key, count in sorted(counts.items()))

    def predict(self, plan: Plan, target: Target, batch: int = 1) -> Prediction | OutOfDomain:
        """The latency of a plan, compressed or not. A target without rows falls back on what it shares with others."""
        return self.predict_all(plan, (target,), batch)[0]

    def predict_all(self, plan: Plan, targets: Sequence[Target], batch: int = 1) -> list[Prediction | OutOfDomain]:
        """The latencies of a plan on many targets at once, in their order; `batch` images in an inference."""
        counted = features(plan)
        unfit = {target.key: recipe_refusal(plan, target, self._measured) for target in targets}
        answers = self.predict_points([Point(target, counted, batch) for target in targets], plan_flags(plan))
        return [
            OutOfDomain(answer.target, batch, unfit[answer.target.key])
            if unfit[answer.target.key] and isinstance(answer, Prediction) else answer
            for answer in answers
        ]  # fmt: skip

    def predict_points(self, points: Sequence[Point], flags: tuple[str, ...] = ()) -> list[Prediction | OutOfDomain]:
        """The latencies of networks of which only the features are known, in float, in their order."""
        reasons = [refusal(point.target, point.batch, self._measured) for point in points]
        sound = [point for point, reason in zip(points, reasons, strict=True) if not reason]
        means, deviations = self.model.predict(sound) if sound else ((), ())
        found = iter([self._prediction(*each, flags) for each in zip(sound, means, deviations, strict=True)])
        return [
            OutOfDomain(point.target, point.batch, reason) if reason else next(found)
            for point, reason in zip(points, reasons, strict=True)
        ]

    def _prediction(self, point: Point, mean: float, deviation: float, flags: tuple[str, ...]) -> Prediction:
        away = self.widths.beyond(point)
        half = self.widths.half(point, deviation, away)
        floor = _floor(point)
        situation = self.widths.situation(point)
        more = _point_flags(point, situation, away, held=math.exp(mean) < (floor or 0.0))
        mean = max(mean, math.log(floor)) if floor else mean
        low, value, high = (max(math.exp(mean + side * half), floor or 0.0) for side in (-1, 0, 1))
        latency = Quantity(value, "s", Evidence.PREDICTED, _source(point.target, situation), low, high)
        limit = Quantity(floor, "s", Evidence.PREDICTED, _PEAK) if floor else None
        return Prediction(
            point.target, point.batch, latency, limit, _bound(point, value), self._nearest(point), (*flags, *more)
        )

    @cached_property
    def residuals(self) -> tuple[Residual, ...]:
        """Every example beside what a fit says that saw no row of its network."""
        means, deviations = self.model.held_out([example.network for example in self.examples])
        return tuple(
            Residual(example, _interval(mean, self._unseen(example) * deviation, _HELD_OUT))
            for example, mean, deviation in zip(self.examples, means, deviations, strict=True)
        )

    def _unseen(self, example: Example) -> float:
        return self.widths.width(Situation.NEW_NETWORK, example.target.engine)

    def residuals_of(self, target: Target) -> tuple[Residual, ...]:
        """Those of one target."""
        return tuple(r for r in self.residuals if r.example.target.key == target.key)

    def _nearest(self, point: Point) -> Residual | None:
        """The row most like the point: of its target, else its device, else its engine and arithmetic."""
        for shared, members in zip(_SHARED, self._members, strict=True):
            found = members.get(shared(point.target))
            if found:
                away = self._positions[found] - self.model.position([point])
                return self.residuals[found[int(np.argmin((away**2).sum(1)))]]
        return None

    @cached_property
    def _members(self) -> tuple[dict[Hashable, list[int]], ...]:
        """The examples by what they share, for each way of sharing."""
        members: tuple[dict[Hashable, list[int]], ...] = tuple(defaultdict(list) for _ in _SHARED)
        for index, example in enumerate(self.examples):
            for shared, known in zip(_SHARED, members, strict=True):
                known[shared(example.target)].append(index)
        return members

    @cached_property
    def _positions(self) -> np.ndarray:
        return self.model.position(self.examples)


@cache
def edge_latencies() -> EdgeLatencies:
    """The predictions from the published rows alone."""
    return EdgeLatencies()


_PEAK = "every multiply-accumulate at the peak that the device's data sheet promises"
_HELD_OUT = "latency model fitted without any row of this network; 80 % interval"


def _point_flags(point: Point, situation: Situation, away: float, *, held: bool) -> tuple[str, ...]:
    flags = []
    if situation in {Situation.NEW_TARGET, Situation.NEW_DEVICE}:
        flags.append(f"Pooled from other targets, with a wider interval: {situation.value}.")
    if away > _OUTSIDE:
        flags.append(
            f"The network is {math.exp(away):.3g} times outside the sizes that were timed with {point.target.engine}:"
            " the interval is wider."
        )
    if held:
        flags.append("Held at the chip's peak: the rows alone would predict less.")
    return tuple(flags)


def _source(target: Target, situation: Situation) -> str:
    rows_of = f"{target.rows} rows" if target.rows else "rows of other targets"
    return f"latency model on published measurements ({rows_of}; {situation.value}); {COVERAGE:.0%} interval"


def _interval(mean: float, half: float, source: str) -> Quantity:
    low, value, high = (math.exp(mean + side * half) for side in (-1, 0, 1))
    return Quantity(value, "s", Evidence.PREDICTED, source, low, high)


def _floor(point: Point) -> float | None:
    peak = point.target.macs_per_second
    return point.features.macs * point.batch / peak if peak else None


def _bound(point: Point, seconds: float) -> str:
    """What explains most of the time: the peak, the bandwidth, or neither."""
    sheet, bits = point.target.data_sheet, point.target.bits
    computing = _floor(point)
    if sheet is None or sheet.bandwidth is None or bits is None or computing is None:
        return ""
    f = point.features
    moved = f.parameters * bits[0] + point.batch * bits[1] * (
        f.product_elements + f.narrow_elements + f.attended_elements
    )
    moving = moved / 8 / sheet.bandwidth
    if max(computing, moving) < _EXPLAINED * seconds:
        return "overhead"
    return "compute" if computing >= moving else "memory"
