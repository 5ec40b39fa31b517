"""Whether an engine says what the eager model says: equal answers, how far the logits are off, both accuracies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitedge_core import bootstrap
from vitedge_core.backends.base import Runner
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity, wilson
from vitedge_core.measure.accuracy import Outcome, difference
from vitedge_core.preprocessing import Preprocessing

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says to n images of a set, in its order: logits [n, K], true classes [n], and the set in words."""

    logits: Tensor
    labels: Tensor
    where: str

    @property
    def outcome(self) -> Outcome:
        """The answers as the accuracy takes them."""
        confidence, predictions = self.logits.softmax(-1).max(-1)
        return Outcome(predictions, predictions == self.labels, confidence, self.where, self.labels)


@dataclass(frozen=True, slots=True)
class EngineAgreement:
    """An engine beside the eager model, on the same n images.

    same: share of equal answers. error: norm of the logits' difference by the norm of the eager ones. accuracy, eager:
    of both; difference: of them, paired. flagged: whether the engine changes more answers than the accuracy of so many
    images is known to.
    """

    n: int
    same: Quantity
    error: Quantity
    accuracy: Quantity
    eager: Quantity
    difference: Quantity

    @property
    def flagged(self) -> bool:
        """Whether more answers change than half the width of the accuracy's interval."""
        low, high = self.eager.low, self.eager.high
        return low is not None and high is not None and 1 - self.same.value > (high - low) / 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them."""
        names = ("same", "error", "accuracy", "eager", "difference")
        return {"n": self.n, "flagged": self.flagged, **{name: getattr(self, name).to_dict() for name in names}}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> EngineAgreement:
        """Read `to_dict`'s values."""
        figures = {name: Quantity.from_dict(value) for name, value in plain.items() if name not in {"n", "flagged"}}
        return cls(plain["n"], **figures)


def answers(
    runner: Runner,
    images: LabelledImages,
    preprocessing: Preprocessing,
    limit: int | None = None,
    *,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Answers:
    """Ask a runner of any engine about the first `limit` images of a set, all of them by default.

    Raises:
        VitEdgeError: No image could be read.
        Cancelled: `cancelled` said so.
    """
    total = len(images) if limit is None else min(limit, len(images))
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    done = 0
    for batch in images.batches(preprocessing, limit, size=runner.batch):
        if cancelled():
            raise Cancelled
        logits.append(filled(runner, batch.images))
        labels.append(batch.labels)
        done += len(batch.labels)
        report(min(1.0, done / total), f"{done:,} of {total:,} images of {images.title}")
    if not logits:
        raise VitEdgeError(f"Not one image of {images.title} could be read.")
    return Answers(torch.cat(logits), torch.cat(labels), images.title)


def filled(runner: Runner, images: Tensor) -> Tensor:
    """Logits [n, K] of at most a whole batch; what is missing is filled with the last image again, and cut off."""
    missing = runner.batch - len(images)
    if missing > 0:
        images = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
    logits = runner(images)[: len(images) - max(missing, 0)]
    return logits.float().clone()  # the next pass may write over it


def agree(eager: Answers, other: Answers) -> EngineAgreement:
    """Compare an engine's answers with the eager model's to the same images.

    Raises:
        VitEdgeError: The engine gave numbers that are none.
    """
    if eager.logits.shape != other.logits.shape or eager.where != other.where:
        raise ValueError("agreement needs the same images and classes")
    if not torch.isfinite(other.logits).all():
        raise VitEdgeError("This engine answers some images with infinite or undefined numbers, so it cannot be used.")
    before, after = eager.outcome, other.outcome
    n, same = before.n, int((before.predictions == after.predictions).sum())
    told = f"same answer as the eager model on {same:,} of {n:,} images of {eager.where}; 95 % Wilson interval"
    shares = Quantity(same / n, "share", Evidence.MEASURED, told, *wilson(same, n))
    return EngineAgreement(n, shares, _error(eager, other), after.top1, before.top1, difference(before, after))


def _error(eager: Answers, other: Answers) -> Quantity:
    """Relative error of all logits together, its interval by drawing images anew."""
    squares = torch.stack([
        (other.logits - eager.logits).double().square().sum(1), eager.logits.double().square().sum(1)
    ], 1)  # fmt: skip

    def statistic(drawn: Tensor) -> Tensor:
        sums = drawn.double().sum(1)
        return (sums[:, 0] / sums[:, 1].clamp_min(1e-30)).sqrt()

    source = f"norm of the logits' difference by the norm of the eager model's logits, {len(squares):,} images of "
    return bootstrap.of(squares, statistic, "share", source + eager.where)
