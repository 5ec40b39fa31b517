"""How long a calibrated board takes for any plan: what a kind of operation costs there, learned from its own timings.

Every operation is taken to cost a constant for its call, a time for each multiply-accumulate, for each byte of
activations and for each weight, with rates of its family of kernels. The rates are the non-negative least squares
(Lawson, Hanson, "Solving Least Squares Problems", 1974) of relative errors over the layers and networks that the board
timed; the interval comes from networks left out of the fit in turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vitedge_core.cost.calibration import Calibration, Timing
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plan import Kind, Op, Plan

Vector = NDArray[np.float64]
COVERAGE = 0.8
_FEATURES = (
    "product calls", "product macs", "product activations", "product weights",
    "convolution calls", "convolution macs", "convolution activations", "convolution weights",
    "depthwise calls", "depthwise macs", "depthwise outputs",
    "attention calls", "attention macs", "attention activations", "attention fused scores",
    "softmax calls", "softmax activations", "norm calls", "norm activations",
    "elementwise calls", "elementwise activations", "elementwise of one input",
)  # fmt: skip
_PLACE = {name: place for place, name in enumerate(_FEATURES)}
_KERNELS = {side * side for side in (3, 5, 7, 9, 11, 13)}
_LAYERS = 0.1  # weight of a stack of layers beside a network, whose caches are as cold as those of what is predicted
_RIDGE = 0.2  # pulls rates that the timings say little about towards zero


@dataclass(frozen=True, slots=True)
class Rates:
    """What a board's kernels cost: seconds for each unit of a feature, and the factor of the interval.

    spread: the interval of a prediction t is t / spread to t * spread.
    """

    seconds: tuple[float, ...]
    spread: float


def features(ops: Iterable[tuple[Op, int]], batch: int = 1) -> Vector:
    """What the rates are multiplied by: sums over operations, each with how often it stands there."""
    sums = np.zeros(len(_FEATURES))
    for op, count in ops:
        for name, value in _of(op, batch):
            sums[_PLACE[name]] += count * value
    return sums


def predict(board: Calibration, plan: Plan, batch: int = 1) -> Quantity:
    """Time of one inference of `batch` images on the board, in seconds, with its interval of 80 %.

    Raises:
        VitEdgeError: The plan holds what the board never timed; the sentence says what.
    """
    if plan.quantised:
        raise VitEdgeError(f"{board.name} was calibrated in float32 only, so what fewer bits gain there is not known.")
    rates = learned(board)
    value = float(features(((op, 1) for op in plan.ops), batch) @ np.asarray(rates.seconds))
    threads = "one thread" if board.threads == 1 else f"{board.threads} threads"
    source = (
        f"sum over operations at the rates that {board.name} showed on {board.measured} ({threads}, PyTorch, float32); "
        f"80 % interval from {len(board.networks)} networks of its calibration, each left out of the fit in turn"
    )
    return Quantity(value, "s", Evidence.PREDICTED, source, value / rates.spread, value * rates.spread)


@lru_cache(maxsize=64)
def learned(board: Calibration) -> Rates:
    """The rates of a board.

    The spread is that of Vovk's cross-conformal predictors with the largest errors trimmed: with n networks the
    ceil(0.8 (n + 1))-th smallest factor between a network's time and its prediction from the others.
    """
    factors = sorted(math.exp(abs(math.log(ratio))) for _, ratio in left_out(board))
    rank = min(len(factors), math.ceil(COVERAGE * (len(factors) + 1)))
    return Rates(tuple(_fitted(board.timings)), factors[rank - 1])


def left_out(board: Calibration) -> tuple[tuple[str, float], ...]:
    """Each network of the calibration: its prediction from all other timings, over its measured time."""
    found = []
    for timing in board.networks:
        others = [other for other in board.timings if other is not timing]
        predicted = float(features(timing.ops) @ _fitted(others))
        found.append((timing.name, max(predicted, 1e-9) / timing.seconds))
    return tuple(found)


def _fitted(timings: Sequence[Timing]) -> Vector:
    from scipy.optimize import nnls

    weight = np.array([1.0 if timing.whole else _LAYERS for timing in timings])
    relative = np.array([features(timing.ops) / timing.seconds for timing in timings]) * weight[:, None]
    scale = np.sqrt((relative**2).sum(0)) + 1e-30
    system = np.vstack([relative / scale, _RIDGE * np.eye(len(_FEATURES))])
    rates, _ = nnls(system, np.concatenate([weight, np.zeros(len(_FEATURES))]), maxiter=10_000)
    return rates / scale


def _of(op: Op, batch: int) -> list[tuple[str, float]]:
    """An operation's part in each feature of its family."""
    moved = batch * (op.reads + op.writes)
    if not op.macs:
        return _without_macs(op, moved, batch) if moved else []
    macs = batch * op.macs
    if op.kind is Kind.ATTENTION:
        fused = 0 if op.writes else batch * op.rows * op.outputs
        return [("attention calls", 1), ("attention macs", macs), ("attention activations", moved),
                ("attention fused scores", fused)]  # fmt: skip
    reuse = (
        op.rows * op.inputs / max(1, op.reads)
    )  # how often an input is read: once by a product, k^2 times by a kernel
    if op.inputs in _KERNELS and not 0.9 < reuse < 1.1:
        return [("depthwise calls", 1), ("depthwise macs", macs), ("depthwise outputs", batch * op.rows * op.outputs)]
    family = "convolution" if reuse > 1.3 else "product"
    return [(f"{family} calls", 1), (f"{family} macs", macs), (f"{family} activations", moved),
            (f"{family} weights", op.inputs * op.outputs)]  # fmt: skip


def _without_macs(op: Op, moved: int, batch: int) -> list[tuple[str, float]]:
    if op.kind is Kind.NORM:
        return [("norm calls", 1), ("norm activations", moved)]
    if op.kind is Kind.ATTENTION:
        return [("softmax calls", 1), ("softmax activations", moved)]
    single = batch * op.writes if op.reads <= 1.01 * op.writes else 0
    return [("elementwise calls", 1), ("elementwise activations", moved), ("elementwise of one input", single)]
