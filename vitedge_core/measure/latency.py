"""Stopwatch for models side by side: one pass of each in turn, A B A B, so that a busy machine troubles all alike."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity

Report = Callable[[float, str], None]
WARM_UP = 3  # rounds before the first that counts
LEAST = 7  # rounds that count, however long they take
_SHORTEST = 2e-3  # a sample takes at least so many seconds, else the clock and the interpreter are timed
_RESAMPLES = 2_000
_stopwatch = threading.Lock()  # two timings at once in one process would time each other


@dataclass(frozen=True, slots=True)
class Timings:
    """Samples of each model, [rounds] seconds per pass, taken in turn. `warning` says when the machine was busy."""

    samples: Mapping[str, NDArray[np.float64]]
    threads: int
    batch: int
    warning: str | None

    @property
    def rounds(self) -> int:
        """How many samples each model has."""
        return len(next(iter(self.samples.values())))

    @property
    def _conditions(self) -> str:
        images = "one image" if self.batch == 1 else f"a batch of {self.batch} images"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{images}, {threads}, {self.rounds} interleaved rounds on this machine; 95 % bootstrap interval"

    def median(self, name: str) -> Quantity:
        """Median time of one pass."""
        samples = self.samples[name]
        drawn = np.median(samples[self._draws()], axis=1)
        return _bounded(float(np.median(samples)), drawn, "s", f"median time of one pass, {self._conditions}")

    def ratio(self, name: str, to: str) -> Quantity:
        """Time of `name` over time of `to`, from pairs of the same round; above 1 is slower."""
        pairs = self.samples[name] / self.samples[to]
        drawn = np.median(pairs[self._draws()], axis=1)
        return _bounded(float(np.median(pairs)), drawn, "ratio", f"median of paired ratios, {self._conditions}")

    def _draws(self) -> NDArray[np.int64]:
        return np.random.default_rng(0).integers(0, self.rounds, (_RESAMPLES, self.rounds))


def _bounded(value: float, drawn: NDArray[np.float64], unit: str, source: str) -> Quantity:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Quantity(value, unit, Evidence.MEASURED, source, min(float(low), value), max(float(high), value))


def compare(
    models: Mapping[str, nn.Module],
    example: Tensor,
    threads: int = 1,
    *,
    seconds: float = 4.0,
    rounds: int = 100,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Timings:
    """Time models in turn in this process.

    Args:
        models: By name; they are put into eval mode and run under `torch.inference_mode`.
        example: [B, 3, height, width], what each pass gets.
        threads: Threads of torch meanwhile; put back afterwards.
        seconds: After about this time no further round begins, but `LEAST` rounds are always run.
        rounds: No more than so many.
        report: Called with the share done and a sentence.
        cancelled: Asked before every round.

    Raises:
        VitEdgeError: The number of threads is out of range.
        Cancelled: `cancelled` said so.
    """
    check_threads(threads)
    with alone(threads, cancelled), torch.inference_mode():
        passes = {name: _warmed(model.eval(), example) for name, model in models.items()}
        taken: dict[str, list[float]] = {name: [] for name in models}
        start, own = time.perf_counter(), time.thread_time()
        done = 0
        while done < rounds and (done < LEAST or time.perf_counter() - start < seconds):
            if cancelled():
                raise Cancelled
            for name, model in models.items():
                taken[name].append(_one_sample(model, example, passes[name]))
            done += 1
            share = max(min(done / LEAST, (time.perf_counter() - start) / max(seconds, 1e-9)), done / rounds)
            report(min(1.0, share), f"Timing, round {done}")
        got = (time.thread_time() - own) / (time.perf_counter() - start)
    samples = {name: np.asarray(values) for name, values in taken.items()}
    return Timings(samples, threads, len(example), _warning(got, os.cpu_count() or 1))


def check_threads(threads: int) -> None:
    """Raise the sentence that says how many threads there are, unless there are so many."""
    cores = os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise VitEdgeError(f"Latency can be measured with 1 to {cores} threads here, not {threads}.")


@contextmanager
def alone(threads: int, cancelled: Callable[[], bool]) -> Iterator[None]:
    """The stopwatch to ourselves, with that many threads."""
    while not _stopwatch.acquire(timeout=0.1):
        if cancelled():
            raise Cancelled
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
        _stopwatch.release()


def _warmed(model: nn.Module, example: Tensor) -> int:
    """Run the model in; returns how many passes make a sample long enough for the clock."""
    fastest = min(_one_sample(model, example, 1) for _ in range(WARM_UP))
    return max(1, round(_SHORTEST / max(fastest, 1e-7)))


def _one_sample(model: nn.Module, example: Tensor, passes: int) -> float:
    start = time.perf_counter()
    for _ in range(passes):
        model(example)
    return (time.perf_counter() - start) / passes


def _warning(got: float, cores: int) -> str | None:
    """A sentence if others wanted the processor: we got too little of it, or the load is above the number of cores.

    `got` is the processor time of the timing thread over the time on the wall.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if got > 0.9 and load <= cores + 0.5:
        return None
    return (
        f"The machine was busy (load {load:.1f} on {cores} cores, the stopwatch got {min(got, 1):.0%} of its "
        "processor), so read times as upper bounds and trust the ratio more."
    )
