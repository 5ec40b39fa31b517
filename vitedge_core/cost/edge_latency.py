"""Latencies on named edge devices: what was published, what the model predicts, and how far it was ever off.

A prediction stands on the plan's own layers, never on a scaled total, and carries an interval that held for 80 % of the
rows that a fit had not seen. What the published rows cannot support is out of domain and says why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

from vitedge_core.cost.edge_domain import flags_of, refusal
from vitedge_core.cost.edge_interval import COVERAGE, Situation, Widths
from vitedge_core.cost.edge_model import Example, LatencyModel, Point
from vitedge_core.cost.edge_rows import Row, rows
from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.features import Features, features
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plan import Plan

_BYTES = 8  # bits
_FAR_BELOW = 0.05  # share of the time that the chip's promises explain, under which neither of them binds


@dataclass(frozen=True, slots=True)
class Residual:
    """An example and what a fit said of it that had not seen its network. ratio: predicted by measured."""

    example: Example
    source: str
    model: str
    predicted: Quantity

    @property
    def measured(self) -> Quantity:
        """The published latency."""
        return Quantity(self.example.seconds, "s", Evidence.PUBLISHED, self.source)

    @property
    def ratio(self) -> float:
        """Above 1 the prediction was too slow."""
        return self.predicted.value / self.example.seconds


@dataclass(frozen=True, slots=True)
class Prediction:
    """A latency of one inference of the batch.

    latency: with its 80 % interval. floor: seconds at the chip's peak, None where nobody published one. bound:
    "compute", "memory", "overhead" (neither explains the time), or "" where the data sheet is silent. nearest: the
    published row most like it, from the same target where there is one. flags: sentences that a reader must see.
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
    """Predictions from published rows and, where given, from a user's own measurements.

    Args:
        own: Measurements of one's own; their devices become targets.
    """

    def __init__(self, own: Sequence[Example] = ()) -> None:
        self._published: tuple[Row, ...] = rows()
        self._own = tuple(own)

    @cached_property
    def examples(self) -> tuple[Example, ...]:
        """What the model learns from."""
        return (*(row.example for row in self._published), *self._own)

    @cached_property
    def model(self) -> LatencyModel:
        """The fit; about a second when first asked for."""
        return LatencyModel(self.examples)

    @cached_property
    def widths(self) -> Widths:
        """How wide an interval must be to hold 80 % of what was held out."""
        return Widths.of(self.model)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Every device, runtime and precision with a published or own latency, and how many it has."""
        counts = Counter(example.target.key for example in self.examples)
        return tuple(Target(*key, count) for key, count in sorted(counts.items()))

    def predict(self, plan: Plan, target: Target, batch: int = 1) -> Prediction | OutOfDomain:
        """The latency of a plan, compressed or not, on a target; any device of the data sheets may be asked for."""
        return self.predict_all(plan, (target,), batch)[0]

    def predict_all(
        self, plan: Plan, targets: Sequence[Target], batch: int = 1, *, folded_norms: bool = False
    ) -> list[Prediction | OutOfDomain]:
        """The latencies of a plan on many targets at once; as `predict`, in their order."""
        counted = features(plan, folded_norms=folded_norms)
        reasons = [refusal(plan, target, batch, self.examples) for target in targets]
        sound = [target for target, reason in zip(targets, reasons, strict=True) if not reason]
        answers = iter(self._answers(counted, sound, batch))
        return [
            OutOfDomain(target, batch, reason) if reason else replace(answer, flags=flags_of(plan, answer.flags))
            for target, reason in zip(targets, reasons, strict=True)
            if (answer := None if reason else next(answers)) or reason
        ]

    def residuals(self, target: Target) -> tuple[Residual, ...]:
        """The rows of a target, each beside what a fit says that saw no row of its network, on no device."""
        return tuple(r for r in self._residuals if r.example.target.key == target.key)
