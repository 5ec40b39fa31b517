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

from vitedge_core.cost.edge_model import Example, LatencyModel, Point, Vector

COVERAGE = 0.8
_PER_FOLD = 0.3  # deviation for each factor e by which a network is larger or smaller than any that was timed


class Situation(StrEnum):
    """What the model knows of a point: the poorest description that holds."""

    KNOWN = "the network was published on another target"
    NEW_NETWORK = "no row has this network"
    NEW_TARGET = "no row has this device with this runtime and precision"
    NEW_DEVICE = "no row has this device"


_GROUPS = {
    Situation.NEW_NETWORK: lambda example: example.network,
    Situation.NEW_TARGET: lambda example: example.target.key,
    Situation.NEW_DEVICE: lambda example: example.target.device,
}


@dataclass(frozen=True, slots=True)
class Widths:
    """Deviations on either side of the mean, by situation, and what was seen."""

    of_situation: dict[Situation, float]
    devices: frozenset[str]
    targets: frozenset[tuple[str, str, str]]
    networks: frozenset[Hashable]

    @classmethod
    def of(cls, model: LatencyModel) -> Widths:
        """From a model's own held-out rows."""
        examples = model.examples
        scores = {s: _scores(model, [group(e) for e in examples]) for s, group in _GROUPS.items()}
        shared = Counter(example.network for example in examples)
        known = np.array([shared[example.network] > 1 for example in examples])
        scores[Situation.KNOWN] = _scores(model, range(len(examples)))[known]
        return cls(
            {situation: _quantile(found) for situation, found in scores.items()},
            frozenset(example.target.device for example in examples),
            frozenset(example.target.key for example in examples),
            frozenset(example.features for example in examples),
        )  # fmt: skip

    def situation(self, point: Point) -> Situation:
        """The situation of a point."""
        if point.target.device not in self.devices:
            return Situation.NEW_DEVICE
        if point.target.key not in self.targets:
            return Situation.NEW_TARGET
        return Situation.KNOWN if point.features in self.networks else Situation.NEW_NETWORK

    def half(self, point: Point, deviation: float, beyond: float) -> float:
        """Half the interval of the logarithm; `beyond` is how far outside the timed sizes the network lies."""
        return self.of_situation[self.situation(point)] * math.hypot(deviation, _PER_FOLD * beyond)


def _scores(model: LatencyModel, groups: Sequence[Hashable]) -> Vector:
    means, deviations = model.held_out(groups)
    return np.abs(means - model.logs) / deviations


def _quantile(scores: Vector) -> float:
    """The smallest score that covers enough of these and the next one."""
    rank = min(len(scores), math.ceil(COVERAGE * (len(scores) + 1)))
    return float(np.sort(scores)[rank - 1])


def beyond(point: Point, examples: Sequence[Example]) -> float:
    """How far, as a logarithm, the network is larger or smaller than any timed with this engine; 0 inside."""
    timed = [e for e in examples if e.target.engine == point.target.engine] or examples
    asked = _sizes(point)
    sizes = np.array([_sizes(example) for example in timed])
    return float(max(0.0, *(asked - sizes.max(0)), *(sizes.min(0) - asked)))


def _sizes(point: Point | Example) -> Vector:
    f = point.features
    kernels = f.products + f.narrow_products + f.attended_operations
    amounts = (f.macs * point.batch, f.parameters, kernels)
    return np.log([max(1.0, amount) for amount in amounts])
