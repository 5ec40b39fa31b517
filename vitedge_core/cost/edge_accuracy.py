"""How far the latency model and two simpler ones are off, on rows that none of them has seen.

Three ways to hide rows: a network with all its rows on every device (the strict one and the figure that
counts); a network on one target only, so that it may be known from other targets (what a user of a published network
gets); a device with all its rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from vitedge_core.cost.edge_interval import COVERAGE, held_out_scores, widths
from vitedge_core.cost.edge_latency import EdgeLatencies, Residual
from vitedge_core.cost.edge_model import Example, Vector

OURS, EFFICIENCY, LINEAR = "latency model", "one efficiency per target", "log-linear in MACs and parameters"
NETWORK, PAIR, DEVICE = "network", "network on one target", "device"
_HIDDEN = {
    NETWORK: lambda example: example.network,
    PAIR: lambda example: (example.network, example.target.key),
    DEVICE: lambda example: example.target.device,
}
ENOUGH = 5  # rows of a target from which the simpler models have something to learn
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Figures over some held-out rows.

    median: of the absolute relative error. within_1_5, within_2: share of rows predicted within that factor.
    covered: share of rows inside an 80 % interval whose width was set on other rows; None for a model without one.
    """

    method: str
    held_out: str
    of: str
    rows: int
    median: float
    within_1_5: float
    within_2: float
    covered: float | None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Errors (logarithms, predicted less measured) by row, missing where a method had nothing to learn from."""

    method: str
    held_out: str
    errors: Vector
    inside: Vector | None = None


def accuracy(latencies: EdgeLatencies, held_out: str = NETWORK) -> tuple[Accuracy, ...]:
    """Figures of every method over the rows of well-populated targets, over all rows, and by engine and precision.

    Args:
        latencies: With the rows.
        held_out: `NETWORK`, `PAIR` or `DEVICE`; the simpler models are tried on `NETWORK` only.
    """
    examples = latencies.examples
    methods = [ours(latencies, held_out), *(baselines(examples) if held_out == NETWORK else ())]
    sizes = {target.key: target.rows for target in latencies.targets}
    enough = np.array([sizes[example.target.key] >= ENOUGH for example in examples])
    groups = [("{} + {}".format(*key), np.array(mask)) for key, mask in sorted(_by_kind(examples).items())]
    wholes = [(f"targets with {ENOUGH} rows or more", enough), ("all rows", np.ones(len(examples), bool))]
    return tuple(
        _figures(method, of, mask) for of, mask in (*wholes, *groups) for method in methods
        if (mask & ~np.isnan(method.errors)).any()
    )  # fmt: skip


def typical_error(residuals: Sequence[Residual]) -> tuple[float, float]:
    """Median absolute relative error, and the factor within which 80 % of the predictions lie, of some residuals."""
    factors = np.array([max(residual.ratio, 1 / residual.ratio) for residual in residuals])
    errors = np.abs([residual.ratio - 1 for residual in residuals])
    return float(np.median(errors)), float(np.quantile(factors, COVERAGE, method="higher"))


def ours(latencies: EdgeLatencies, held_out: str = NETWORK) -> HeldOut:
    """The latency model; the width of each interval was set on other folds of the networks."""
    examples = latencies.examples
    groups = _groups(examples, held_out)
    means, _ = latencies.model.held_out(groups)
    scores = held_out_scores(latencies.model, groups)
    engines = np.array([example.target.engine for example in examples])
    folds = _folds([example.network for example in examples])
    inside = np.zeros(len(scores))
    for fold in range(_FOLDS):
        width = widths(scores[folds != fold], engines[folds != fold])
        for index in np.flatnonzero(folds == fold):
            inside[index] = scores[index] <= width.get(engines[index], width[""])
    return HeldOut(OURS, held_out, means - latencies.model.logs, inside)


def baselines(examples: Sequence[Example]) -> tuple[HeldOut, HeldOut]:
    """Without the rows of the network, from the other rows of the target: one efficiency, and a plane in logarithms."""
    sizes = np.log([[e.features.macs * e.batch, e.features.parameters] for e in examples])
    logs = np.log([example.seconds for example in examples])
    one, plane = np.full(len(logs), np.nan), np.full(len(logs), np.nan)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        members[example.target.key].append(index)
    for index, example in enumerate(examples):
        others = [i for i in members[example.target.key] if examples[i].network != example.network]
        if others:
            one[index] = sizes[index, 0] + np.median(logs[others] - sizes[others, 0])
        if len(others) >= 3:
            plane[index] = _ridge(sizes[others], logs[others], sizes[index])
    return HeldOut(EFFICIENCY, NETWORK, one - logs), HeldOut(LINEAR, NETWORK, plane - logs)


def _ridge(sizes: Vector, logs: Vector, asked: Vector) -> float:
    from sklearn.linear_model import Ridge

    return float(Ridge(alpha=1.0).fit(sizes, logs).predict(asked[None])[0])


def _groups(examples: Sequence[Example], held_out: str) -> list[Hashable]:
    return [_HIDDEN[held_out](example) for example in examples]


def _folds(networks: Sequence[Hashable]) -> Vector:
    order = {network: number % _FOLDS for number, network in enumerate(sorted(set(networks), key=str))}
    return np.array([order[network] for network in networks])


def _by_kind(examples: Sequence[Example]) -> dict[tuple[str, str], list[bool]]:
    kinds = [(example.target.engine, example.target.arithmetic) for example in examples]
    return {kind: [own == kind for own in kinds] for kind in set(kinds)}


def _figures(method: HeldOut, of: str, mask: Vector) -> Accuracy:
    known = mask & ~np.isnan(method.errors)
    errors = method.errors[known]
    factors = np.abs(errors)
    return Accuracy(
        method.method, method.held_out, of, int(known.sum()), float(np.median(np.abs(np.expm1(errors)))),
        float((factors <= math.log(1.5)).mean()), float((factors <= math.log(2)).mean()),
        None if method.inside is None else float(method.inside[known].mean()),
    )  # fmt: skip
