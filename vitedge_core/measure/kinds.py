"""How long each kind of operation takes in eager PyTorch: a clock at the door of every module, removed afterwards.

A module's own time is what passes in it and in none of its parts; it goes to the kind of what the module computes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitedge_core.errors import Cancelled
from vitedge_core.evidence import Quantity
from vitedge_core.measure.latency import alone, busy, check_threads
from vitedge_core.measure.machine import clock
from vitedge_core.measure.timings import median
from vitedge_core.plan import Kind, Plan

Report = Callable[[float, str], None]
_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class KindTimes:
    """Seconds of a pass by kind, in the order of the kinds. whole: of a pass that nobody watches, timed in turn.

    watched: of one that is; what it takes more is the watching itself, some of it in every kind. warning: says when the
    machine was busy.
    """

    seconds: tuple[tuple[Kind, Quantity], ...]
    whole: Quantity
    watched: Quantity
    warning: str | None


def kind_times(
    model: nn.Module,
    plan: Plan,
    example: Tensor,
    threads: int = 1,
    *,
    seconds: float = 3.0,
    least: int = 10,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> KindTimes:
    """Time a model's operations by kind.

    With one thread its time on the processor counts, which no other program lengthens, else the time on the wall.

    Args:
        model: Put into eval mode; its hooks are gone afterwards.
        plan: Of this model, whose operations say which kind a module's work is.
        example: [B, 3, height, width].
        threads: Of torch meanwhile.
        seconds: After about this time no further round begins, but `least` are always run.
        least: Rounds, each a pass with watching and one without.
        report: Called with the share done and a sentence.
        cancelled: Asked before every round.

    Raises:
        VitEdgeError: The number of threads is out of range.
        Cancelled: `cancelled` said so.
    """
    check_threads(threads)
    kinds, rounds, whole = kinds_of(model, plan), [], []
    with alone(threads, cancelled), torch.inference_mode():
        now = clock()
        for _ in range(_WARM_UP):
            model.eval()(example)
        start, own = time.perf_counter(), time.process_time()
        while len(rounds) < least or time.perf_counter() - start < seconds:
            if cancelled():
                raise Cancelled
            rounds.append(_watched(model, example, kinds, now))
            whole.append(_seconds(model, example, now))
            spent = (time.perf_counter() - start) / max(seconds, 1e-9)
            report(min(1.0, max(len(rounds) / least, spent)), f"Watching, round {len(rounds)}")
        got = (time.process_time() - own) / (time.perf_counter() - start)
    return _told(rounds, whole, threads, busy(got))


def kinds_of(model: nn.Module, plan: Plan) -> dict[str, Kind]:
    """The kind of what each module computes itself; what no operation of the plan names goes with what holds it."""
    known = _named_by_plan({name for name, _ in model.named_modules()}, plan)
    found: dict[str, Kind] = {}
    for name, _ in model.named_modules():
        place = name
        while place and place not in known:
            place = place.rpartition(".")[0]
        found[name] = known.get(place, Kind.ELEMENTWISE)
    return found


def _named_by_plan(modules: set[str], plan: Plan) -> dict[str, Kind]:
    """By module: attention where it multiplies activations, else the kind of its largest operation."""
    ops: dict[str, list[tuple[bool, int, Kind]]] = defaultdict(list)
    for op in plan.ops:
        place = op.path if op.path in modules else op.path.rpartition(".")[0]
        ops[place].append((op.kind is Kind.ATTENTION, op.macs, op.kind))
    return {place: max(some, key=lambda one: one[:2])[2] for place, some in ops.items()}


def _watched(model: nn.Module, example: Tensor, kinds: dict[str, Kind], now: Callable[[], float]) -> dict[Kind, float]:
    """Seconds by kind of one pass."""
    spent: dict[Kind, float] = defaultdict(float)
    with _clocks(model, kinds, spent, now):
        model(example)
    return spent


@contextmanager
def _clocks(
    model: nn.Module, kinds: dict[str, Kind], spent: dict[Kind, float], now: Callable[[], float]
) -> Iterator[None]:
    """Add each module's own time to its kind; the hooks are gone afterwards, whatever happens."""
    inside: list[list[float]] = []  # of each module that runs: when it began, and the time of its parts
    handles = []

    def enter(*_: Any) -> None:
        inside.append([now(), 0.0])

    def leave(kind: Kind) -> None:
        begun, parts = inside.pop()
        whole = now() - begun
        spent[kind] += whole - parts
        if inside:
            inside[-1][1] += whole

    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(lambda *_, kind=kinds[name]: leave(kind), always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _seconds(model: nn.Module, example: Tensor, now: Callable[[], float]) -> float:
    start = now()
    model(example)
    return now() - start


def _told(rounds: list[dict[Kind, float]], whole: list[float], threads: int, warning: str | None) -> KindTimes:
    which = "processor time" if threads == 1 else "time"
    ending = (
        f"{len(rounds)} passes in eager PyTorch, {threads} thread{'s' if threads > 1 else ''}; 95 % bootstrap interval"
    )
    present = [kind for kind in Kind if any(kind in one for one in rounds)]
    seconds = tuple(
        (kind, median(np.array([one.get(kind, 0.0) for one in rounds]),
                      f"median {which} in modules of the kind {kind.value}, {ending}"))
        for kind in present
    )  # fmt: skip
    watched = np.array([sum(one.values()) for one in rounds])
    return KindTimes(
        seconds, median(np.array(whole), f"median {which} of a pass nobody watches, {ending}"),
        median(watched, f"median {which} of a watched pass, {ending}"), warning,
    )  # fmt: skip
