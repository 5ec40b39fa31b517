"""How a latency follows from a network's features and its target: a Gaussian process on logarithms, pooled in part.

Each target may depart from what its device, chip, engine and arithmetic do in common, and only as far as its own rows
show it (Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, section 2.2). What a fit
without some of the rows would have said of them follows from one fit in closed form (their section 5.4.2, with blocks
of rows in place of single ones).
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.features import Features

KERNEL = Path(__file__).with_name("edge_kernel.json")
Vector = NDArray[np.float64]
_ERRATIC = {"ncnn Vulkan"}  # its figures for one network differ tenfold between GPUs of one class


@dataclass(frozen=True, slots=True)
class Example:
    """A latency to learn from.

    features: of one image. seconds: of one inference of the batch. network: rows with the same one are left out
    together. model: what the network is called. source: where the latency stands. own: measured by the user.
    """

    target: Target
    features: Features
    batch: int
    seconds: float
    network: Hashable
    model: str
    source: str
    own: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """What is asked: the features of one image, how many images, and where."""

    target: Target
    features: Features
    batch: int = 1


class LatencyModel:
    """A fit to examples. Means and deviations are of natural logarithms of seconds."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = tuple(examples)
        self._codes = [_Codes(names(example.target) for example in self.examples) for names in _SHARED]
        raw = np.array([_logarithms(example.features, example.batch) for example in self.examples])
        self._centre, self._spread = raw.mean(0), raw.std(0) + 1e-9
        self.logs = np.log([example.seconds for example in self.examples])

    @cached_property
    def _process(self) -> Any:
        from sklearn.gaussian_process import GaussianProcessRegressor

        from vitedge_core.cost.edge_kernels import kernel

        fitted = kernel()
        fitted.theta = np.log(list(json.loads(KERNEL.read_text(encoding="utf-8"))["hyperparameters"]))
        process = GaussianProcessRegressor(fitted, alpha=1e-8, optimizer=None)  # type: ignore[arg-type]
        return process.fit(self.table(self.examples), self.logs - self._level)

    @cached_property
    def _level(self) -> float:
        return float(self.logs.mean())

    def table(self, points: Sequence[Point | Example]) -> Vector:
        """Rows as the kernel reads them: [points, columns]."""
        shared = [[codes[names(point.target)] for codes, names in zip(self._codes, _SHARED, strict=True)]
                  for point in points]  # fmt: skip
        own = [_of_target(point.target) for point in points]
        return np.hstack([np.array(shared, float), np.array(own, float), self.position(points)])

    def position(self, points: Sequence[Point | Example]) -> Vector:
        """Where they lie among the networks: features as multiples of their spread; a unit apart is far."""
        raw = np.array([_logarithms(point.features, point.batch) for point in points])
        return (raw - self._centre) / self._spread / math.sqrt(len(self._centre))

    def predict(self, points: Sequence[Point]) -> tuple[Vector, Vector]:
        """Means and deviations of the logarithms, noise of a measurement included."""
        means, deviations = self._process.predict(self.table(points), return_std=True)
        return means + self._level, deviations

    @cached_property
    def _inverse(self) -> Vector:
        from scipy.linalg import cho_solve

        return cho_solve((self._process.L_, True), np.eye(len(self.examples)))

    def held_out(self, groups: Sequence[Hashable]) -> tuple[Vector, Vector]:
        """Means and deviations for every example by a fit that saw no example of its group."""
        members: dict[Hashable, list[int]] = defaultdict(list)
        for index, group in enumerate(groups):
            members[group].append(index)
        weights = self._inverse @ (self.logs - self._level)
        means, variances = np.empty_like(self.logs), np.empty_like(self.logs)
        for indices in members.values():
            block = np.linalg.inv(self._inverse[np.ix_(indices, indices)])
            means[indices] = self.logs[indices] - block @ weights[indices]
            variances[indices] = np.diag(block)
        return means, np.sqrt(variances)


_SHARED = (
    lambda target: target.device,
    lambda target: target.chip,
    lambda target: target.engine,
    lambda target: target.arithmetic,
    lambda target: target.runtime,
    lambda target: target.precision,
)


def _of_target(target: Target) -> tuple[float, float]:
    """Doublings of threads from two on, 0 where none are stated; and whether its figures scatter.

    The peaks of the data sheets are no column: held-out devices are predicted no better with them.
    """
    return math.log2(target.threads) - 1 if target.threads else 0.0, float(target.engine in _ERRATIC)


class _Codes(dict[str, int]):
    """Numbers for names; one for all that are unknown, which no example has."""

    def __init__(self, names: Any) -> None:
        super().__init__({name: number for number, name in enumerate(sorted(set(names)))})

    def __missing__(self, name: str) -> int:
        return -1


def _logarithms(features: Features, batch: int) -> list[float]:
    """The features of the whole batch as the model sees them; what is absent counts as little, not as nothing."""
    f = features
    kernels = f.products + f.narrow_products + f.attended_operations
    amounts = (
        (f.macs * batch, 1e5), (f.parameters, 1e4), (f.dense_macs * batch, 1e6), (f.convolved_macs * batch, 1e6),
        (f.narrow_macs * batch, 1e5), (f.attended_macs * batch, 1e6), (f.product_elements * batch, 1e4),
        (f.attended_elements * batch, 1e5), (f.norm_elements * batch, 1e5), (f.other_elements * batch, 1e5),
        (kernels, 1), (f.other_operations, 1), (f.norms, 3), (batch, 0),
    )  # fmt: skip
    return [math.log(amount + least) for amount, least in amounts]
