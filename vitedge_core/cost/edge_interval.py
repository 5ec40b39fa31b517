"""How wide an interval must be: conformal quantiles of what was held out, by what the prediction has to do without.

Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", Springer 2005: the share of held-out rows that an
interval caught is the share of new ones it catches, whatever the true distribution is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from vitedge_core.cost.edge_model import Example, LatencyModel, Point, Vector

COVERAGE = 0.8
_POOLED = 20  # rows of an engine at which its own width counts as much as everybody's
_PER_FOLD = 0.3  # deviation for each factor e by which a network is larger or smaller than any that was timed


class Situation(StrEnum):
    """What the model knows of a point, from the most to the least."""

    KNOWN = "the network was published on another target"
    NEW_NETWORK = "no row has this network"
    NEW_TARGET = "no row has this device with this runtime and precision"
    NEW_DEVICE = "no row has this device"


_GROUPS = {
    Situation.KNOWN: lambda example: (example.network, example.target.key),
    Situation.NEW_NETWORK: lambda example: example.network,
    Situation.NEW_TARGET: lambda example: example.target.key,
    Situation.NEW_DEVICE: lambda example: example.target.device,
}


@dataclass(frozen=True, slots=True)
class Widths:
    """How many deviations an interval reaches to either side, and what was seen.

    of_engine: by situation and engine, drawn towards the situation's own (engine "") where an engine has few rows.
    extents: the smallest and the largest sizes timed with each engine.
    """

    of_engine: dict[tuple[Situation, str], float]
    devices: frozenset[str]
    targets: frozenset[tuple[str, str, str]]
    networks: frozenset[Hashable]
    extents: dict[str, tuple[Vector, Vector]]

    @classmethod
    def of(cls, model: LatencyModel) -> Widths:
        """From a model's own held-out rows."""
        examples = model.examples
        engines = np.array([example.target.engine for example in examples])
        shared = Counter(example.network for example in examples)
        known = np.array([shared[example.network] > 1 for example in examples])
        found: dict[tuple[Situation, str], float] = {}
        for situation, group in _GROUPS.items():
            scores = held_out_scores(model, [group(example) for example in examples])
            kept = known if situation is Situation.KNOWN else np.ones(len(examples), bool)
            found |= {(situation, e): width for e, width in widths(scores[kept], engines[kept]).items()}
        return cls(
            found,
            frozenset(example.target.device for example in examples),
            frozenset(example.target.key for example in examples),
            frozenset(example.features for example in examples),
            {engine: _extent([e for e in examples if e.target.engine == engine]) for engine in set(engines)},
        )

    def situation(self, point: Point) -> Situation:
        """The situation of a point."""
        if point.target.device not in self.devices:
            return Situation.NEW_DEVICE
        if point.target.key not in self.targets:
            return Situation.NEW_TARGET
        return Situation.KNOWN if point.features in self.networks else Situation.NEW_NETWORK

    def beyond(self, point: Point) -> float:
        """How far, as a logarithm, the network is larger or smaller than any timed with this engine; 0 inside."""
        smallest, largest = self.extents[point.target.engine]
        asked = _sizes(point)
        return float(max(0.0, *(asked - largest), *(smallest - asked)))

    def half(self, point: Point, deviation: float, beyond: float) -> float:
        """Half the interval of the logarithm; `beyond` is how far outside the timed sizes the network lies."""
        return self.width(self.situation(point), point.target.engine) * math.hypot(deviation, _PER_FOLD * beyond)

    def width(self, situation: Situation, engine: str) -> float:
        """Deviations to either side; whoever knows less of a point never claims a narrower interval."""
        known = [self.of_engine.get((s, engine), self.of_engine[s, ""]) for s in Situation]
        return max(known[: list(Situation).index(situation) + 1])


def held_out_scores(model: LatencyModel, groups: Sequence[Hashable]) -> Vector:
    """How many deviations each example is from what a fit without its group says of it."""
    means, deviations = model.held_out(groups)
    return np.abs(means - model.logs) / deviations


def widths(scores: Vector, engines: NDArray[np.str_]) -> dict[str, float]:
    """The width that covers 80 % of the scores, over all ("") and for each engine, the latter pooled in part."""
    overall = _quantile(scores)
    found = {"": overall}
    for engine in set(engines):
        own = scores[engines == engine]
        found[str(engine)] = (len(own) * _quantile(own) + _POOLED * overall) / (len(own) + _POOLED)
    return found


def _quantile(scores: Vector) -> float:
    """The smallest score that covers enough of these and of the next one."""
    rank = min(len(scores), math.ceil(COVERAGE * (len(scores) + 1)))
    return float(np.sort(scores)[rank - 1])


def _extent(examples: Sequence[Example]) -> tuple[Vector, Vector]:
    sizes = np.array([_sizes(example) for example in examples])
    return sizes.min(0), sizes.max(0)


def _sizes(point: Point | Example) -> Vector:
    f = point.features
    kernels = f.products + f.narrow_products + f.attended_operations
    amounts = (f.macs * point.batch, f.parameters, kernels)
    return np.log([max(1.0, amount) for amount in amounts])
