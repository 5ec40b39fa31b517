"""What a stopwatch saw, as a value: medians, slow passes, processor time and paired ratios, each with its interval.

Intervals are percentile bootstraps over the rounds: Efron and Tibshirani, "An Introduction to the Bootstrap", Chapman
and Hall 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vitedge_core.evidence import Evidence, Quantity

Samples = NDArray[np.float64]
_RESAMPLES = 2_000
_TAIL = 0.95  # of all passes are faster than the slow one


@dataclass(frozen=True, slots=True)
class Timings:
    """Samples of each subject, [rounds] seconds per pass, taken in turn.

    processor: seconds of processor time per pass, all threads of this process together. what: one pass, in words.
    warning: says when the machine was busy.
    """

    samples: Mapping[str, Samples]
    threads: int
    batch: int
    warning: str | None
    processor: Mapping[str, Samples] = field(default_factory=dict)
    what: str = "one pass"

    @property
    def rounds(self) -> int:
        """How many samples each subject has."""
        return len(next(iter(self.samples.values())))

    @property
    def _conditions(self) -> str:
        images = "one image" if self.batch == 1 else f"a batch of {self.batch} images"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{images}, {threads}, {self.rounds} interleaved rounds on this machine; 95 % bootstrap interval"

    def median(self, name: str) -> Quantity:
        """Median time of one pass."""
        return median(self.samples[name], f"median time of {self.what}, {self._conditions}")

    def slow(self, name: str) -> Quantity:
        """The time that 95 % of the passes stay below."""
        source = f"95th percentile of the time of {self.what}, {self._conditions}"
        return bootstrapped(self.samples[name], lambda drawn: np.quantile(drawn, _TAIL, axis=-1), "s", source)

    def cpu(self, name: str) -> Quantity:
        """Median processor time of one pass, all threads of this process together; other programs lengthen it less."""
        return median(self.processor[name], f"median processor time of {self.what}, {self._conditions}")

    def ratio(self, name: str, to: str) -> Quantity:
        """Time of `name` over time of `to`, from pairs of the same round; above 1 is slower."""
        pairs = self.samples[name] / self.samples[to]
        return median(pairs, f"median of paired ratios, {self._conditions}", "ratio")

    def cpu_ratio(self, name: str, to: str) -> Quantity:
        """The same of processor times, which other programs trouble less."""
        pairs = self.processor[name] / np.maximum(self.processor[to], 1e-9)
        return median(pairs, f"median of paired ratios of processor times, {self._conditions}", "ratio")


def median(samples: Samples, source: str, unit: str = "s") -> Quantity:
    """The median of samples [n] with its interval."""
    return bootstrapped(samples, lambda drawn: np.median(drawn, axis=-1), unit, source)


def bootstrapped(samples: Samples, statistic: Callable[[Samples], Samples], unit: str, source: str) -> Quantity:
    """A statistic of samples [n] with its 95 % interval; the draws come from a fixed seed, so that a figure repeats.

    Args:
        samples: [n], in `unit`.
        statistic: From draws [r, n] to [r].
        unit: Of samples and statistic.
        source: What it is and how it was measured.
    """
    rows = np.random.default_rng(0).integers(0, len(samples), (_RESAMPLES, len(samples)))
    low, high = np.quantile(statistic(samples[rows]), [0.025, 0.975])
    value = float(statistic(samples[None])[0])
    return Quantity(value, unit, Evidence.MEASURED, source, min(float(low), value), max(float(high), value))
