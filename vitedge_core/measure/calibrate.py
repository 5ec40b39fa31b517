"""A board times itself: layers and networks in turn, round after round, into a file that VitEdge imports elsewhere.

Needs torch and timm and nothing else, so that it runs on the smallest board that can run a network at all.
"""

from __future__ import annotations

import datetime as dt
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitedge_core.cost.calibration import MAX_TEXT, Calibration, Timing, counted
from vitedge_core.errors import Cancelled
from vitedge_core.measure.ladder import Rung, rungs
from vitedge_core.measure.latency import alone, check_threads
from vitedge_core.measure.machine import bandwidth, clock, memory, peak, processor_name
from vitedge_core.models.trace import trace_model

Report = Callable[[float, str], None]
LEAST = 5  # rounds, however long they take
_SHORTEST = 1e-3  # seconds of a sample, at least
_BUILDING = 0.15  # share of the progress that building the networks takes


@dataclass(slots=True)
class _Subject:
    rung: Rung
    model: nn.Module
    example: Tensor
    passes: int
    samples: list[float]


def calibrate(
    name: str = "",
    threads: int = 1,
    *,
    seconds: float = 75.0,
    subjects: Sequence[Rung] | None = None,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Calibration:
    """Time the ladder on this machine.

    Args:
        name: What the device is called; by default after its processor.
        threads: Of torch.
        seconds: After about this time no further round begins, but `LEAST` are always run.
        subjects: What to time; the ladder by default.
        report: Called with the share done and a sentence.
        cancelled: Asked before everything that takes a while.

    Raises:
        VitEdgeError: The number of threads is out of range.
        Cancelled: `cancelled` said so.
    """
    check_threads(threads)
    chosen = tuple(rungs()) if subjects is None else tuple(subjects)
    with alone(threads, cancelled), torch.inference_mode():
        built = [_built(rung, place / len(chosen), report, cancelled) for place, rung in enumerate(chosen)]
        macs, moved = peak(), bandwidth()
        rounds = _rounds(built, seconds, report, cancelled)
    processor = processor_name()
    return Calibration(
        (name or f"{processor}, {threads} thread{'s' if threads > 1 else ''}")[:MAX_TEXT], processor,
        f"{platform.system()} {platform.machine()}, torch {torch.__version__}"[:MAX_TEXT], threads, memory(),
        dt.datetime.now(dt.UTC).date().isoformat(), macs, moved,
        tuple(_timing(subject, rounds) for subject in built),
    )  # fmt: skip


def _built(rung: Rung, share: float, report: Report, cancelled: Callable[[], bool]) -> _Subject:
    if cancelled():
        raise Cancelled
    report(_BUILDING * share, f"Building {rung.name}")
    model, example = rung.build().eval(), torch.randn(1, *rung.shape)
    fastest = min(sample(model, example, 1) for _ in range(3))
    return _Subject(rung, model, example, max(1, min(1_000, round(_SHORTEST / max(fastest, 1e-7)))), [])


def _rounds(built: Sequence[_Subject], seconds: float, report: Report, cancelled: Callable[[], bool]) -> int:
    """Sample everything in turn until the time is up; says how often."""
    start, done = time.perf_counter(), 0
    while done < LEAST or time.perf_counter() - start < seconds:
        for place, subject in enumerate(built):
            if cancelled():
                raise Cancelled
            spent = (time.perf_counter() - start) / max(seconds, 1e-9)
            share = min(1.0, spent, (done + place / len(built)) / LEAST)
            report(_BUILDING + (1 - _BUILDING) * share, f"Timing, round {done + 1}: {subject.rung.name}")
            subject.samples.append(sample(subject.model, subject.example, subject.passes))
        done += 1
    return done


def sample(model: nn.Module, example: Tensor, passes: int) -> float:
    """Seconds of a pass, by the clock of `machine.clock`."""
    now = clock()
    start = now()
    for _ in range(passes):
        model(example)
    return (now() - start) / passes


def _timing(subject: _Subject, rounds: int) -> Timing:
    rung = subject.rung
    plan = trace_model(subject.model, rung.name, rung.shape)
    return Timing(rung.name, rung.whole, counted(plan.ops), lower_quartile(subject.samples), rounds)


def lower_quartile(samples: Sequence[float]) -> float:
    """What a quarter of the samples stay below: near what an undisturbed pass takes, and steadier than the minimum."""
    return sorted(samples)[(len(samples) - 1) // 4]
