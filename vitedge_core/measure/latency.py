"""Stopwatch for models side by side: one pass of each in turn, A B A B, so that a busy machine troubles all alike."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.measure.timings import Timings

Report = Callable[[float, str], None]
Images = TypeVar("Images", bound=Sized)  # whatever the subjects take; its length is the batch
WARM_UP = 3  # passes of a block of the warm-up, which takes two blocks at least
LEAST = 7  # rounds that count, however long they take
_FALLING = 0.97  # a block whose median is below this share of the block before says that the warm-up is not over
_WARM_SECONDS = 2.0  # after which a warm-up ends, however much the passes still shorten
_SHORTEST = 2e-3  # a sample takes at least so many seconds, else the clock and the interpreter are timed
_COLD = 0.02  # seconds; before a shorter sample one pass brings back into the caches what the others drove out
_stopwatch = threading.Lock()  # two timings at once in one process would time each other


@dataclass(slots=True)
class _Subject:
    """One of the runners in turn: how many passes make a sample, and the samples of both clocks."""

    run: Callable[[object], object]
    passes: int = 1
    cold: bool = False
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def compare(
    subjects: Mapping[str, Callable[[Images], object]],
    example: Images,
    threads: int = 1,
    *,
    seconds: float = 4.0,
    rounds: int = 100,
    what: str = "one pass",
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Timings:
    """Time models, or whatever runs them, in turn in this process.

    Args:
        subjects: By name: runners of any engine, or modules of PyTorch, which are put into eval mode. All are called
            under `torch.inference_mode`.
        example: What each pass gets, [B, 3, height, width] or B images in another form.
        threads: Threads of torch meanwhile, put back afterwards; other engines bring their own.
        seconds: After about this time no further round begins, but `LEAST` rounds are always run.
        rounds: No more than so many.
        what: One pass, in words.
        report: Called with the share done and a sentence.
        cancelled: Asked before every sample.

    Raises:
        VitEdgeError: The number of threads is out of range.
        Cancelled: `cancelled` said so.
    """
    check_threads(threads)
    with alone(threads, cancelled), torch.inference_mode():
        warmed = {}
        for number, (name, run) in enumerate(subjects.items()):
            report(0.2 * number / len(subjects), f"Warming up {name}")
            warmed[name] = _warmed(run.eval() if isinstance(run, nn.Module) else run, example, cancelled)
        start, own = time.perf_counter(), time.process_time()
        done = 0
        while done < rounds and (done < LEAST or time.perf_counter() - start < seconds):
            for subject in warmed.values():
                if cancelled():
                    raise Cancelled
                _take(subject, example)
            done += 1
            share = max(min(done / LEAST, (time.perf_counter() - start) / max(seconds, 1e-9)), done / rounds)
            report(0.2 + 0.8 * min(1.0, share), f"Timing, round {done}")
        got = (time.process_time() - own) / (time.perf_counter() - start)
    walls = {name: np.asarray(subject.wall) for name, subject in warmed.items()}
    processor = {name: np.asarray(subject.processor) for name, subject in warmed.items()}
    return Timings(walls, threads, len(example), busy(got), processor, what)


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


def _warmed(run: Callable[..., object], example: object, cancelled: Callable[[], bool]) -> _Subject:
    """Run it in until its passes no longer get shorter, and find how many make a sample long enough for the clock."""
    end, before, fastest = time.perf_counter() + _WARM_SECONDS, float("inf"), float("inf")
    while True:
        block = []
        for _ in range(WARM_UP):
            if cancelled():
                raise Cancelled
            block.append(_one_sample(run, example, 1)[0])
        now, fastest = float(np.median(block)), min(fastest, *block)
        if now >= _FALLING * before or time.perf_counter() > end:
            break
        before = now
    passes = max(1, round(_SHORTEST / max(fastest, 1e-7)))
    return _Subject(run, passes, cold=passes * fastest < _COLD)


def _take(subject: _Subject, example: object) -> None:
    """Add a sample."""
    if subject.cold:
        subject.run(example)
    wall, processor = _one_sample(subject.run, example, subject.passes)
    subject.wall.append(wall)
    subject.processor.append(processor)


def _one_sample(run: Callable[[object], object], example: object, passes: int) -> tuple[float, float]:
    """Seconds of a pass on the wall and of the processor."""
    own, start = time.process_time(), time.perf_counter()
    for _ in range(passes):
        run(example)
    wall = time.perf_counter() - start
    return wall / passes, (time.process_time() - own) / passes


def busy(got: float) -> str | None:
    """A sentence if others wanted the processor: we got too little of it, or the load is above the number of cores.

    `got` is the processor time of this process over the time on the wall: 1 for a core that was all ours.
    """
    cores, load = os.cpu_count() or 1, load_now()
    if got > 0.9 and load <= cores + 0.5:
        return None
    return (
        f"The machine was busy (load {load:.1f} on {cores} cores, the stopwatch got {min(got, 1):.0%} of its "
        "processor), so read times as upper bounds and trust the ratio more."
    )


def load_now() -> float:
    """How many programs wanted a processor in the last minute, on average; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
