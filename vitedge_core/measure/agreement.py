"""Where two models agree and where not: flipped answers, calibration, and the accuracy of every class.

Calibration: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599, equations 2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from vitedge_core import bootstrap
from vitedge_core.evidence import Evidence, Quantity, wilson
from vitedge_core.measure.accuracy import Outcome, difference

BINS = 15


@dataclass(frozen=True, slots=True)
class Flips:
    """On which share of n images the two models answer alike, and how they differ on the others; they sum to 1.

    newly_wrong: the first was right. newly_right: the second is. other_wrong: both are wrong, in different ways.
    """

    n: int
    same: Quantity
    newly_wrong: Quantity
    newly_right: Quantity
    other_wrong: Quantity


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of a confidence from `low` to `high`: how many, how sure on average, how often right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: Quantity


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well a model's confidence says how often it is right.

    ece: expected calibration error, corrected for the bias of few images. confidence: mean. bins: those with answers.
    """

    ece: Quantity
    confidence: Quantity
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class ClassChange:
    """Accuracy of a class before and after, on its n images; the change has an interval for all classes at once."""

    name: str
    n: int
    before: Quantity
    after: Quantity
    change: Quantity

    @property
    def clear(self) -> bool:
        """Whether the change is more than chance, although the worst of many classes is looked at."""
        return self.change.excludes(0)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two models on the same images, the first of them the baseline."""

    n: int
    accuracy: tuple[Quantity, Quantity]
    difference: Quantity
    flips: Flips
    calibration: tuple[Calibration, Calibration]
    classes: tuple[ClassChange, ...]

    @property
    def worst(self) -> ClassChange | None:
        """The class that lost most; None when no class lost anything."""
        hit = min(self.classes, key=lambda one: one.change.value, default=None)
        return hit if hit is not None and hit.change.value < 0 else None


def agreement(before: Outcome, after: Outcome, names: Sequence[str]) -> Agreement:
    """Compare two models' answers to the same images.

    Args:
        before: The baseline's, with labels.
        after: The other's.
        names: Of the classes, by number.
    """
    return Agreement(
        before.n, (before.top1, after.top1), difference(before, after), flips(before, after),
        (calibration(before), calibration(after)), per_class(before, after, names),
    )  # fmt: skip


def flips(before: Outcome, after: Outcome) -> Flips:
    """How the answers differ, each kind as a share of all images with its Wilson interval."""
    same = before.predictions == after.predictions
    kinds = {
        "same answer": same,
        "right before and wrong after": before.correct & ~after.correct,
        "wrong before and right after": ~before.correct & after.correct,
        "wrong in different ways": ~before.correct & ~after.correct & ~same,
    }
    return Flips(before.n, *(_share(int(found.sum()), before.n, kind, before.where) for kind, found in kinds.items()))


def calibration(outcome: Outcome) -> Calibration:
    """ECE over 15 bins of equal width with a bootstrap interval, mean confidence, and the bins for a diagram."""
    pairs = torch.stack([outcome.confidence.double(), outcome.correct.double()], 1)
    sure = bootstrap.mean(outcome.confidence, "share", f"mean confidence in {outcome.n:,} answers on {outcome.where}")
    return Calibration(_debiased(pairs, outcome), sure, _bins(pairs, outcome.where))


def per_class(before: Outcome, after: Outcome, names: Sequence[str]) -> tuple[ClassChange, ...]:
    """Every class that has images, with both accuracies and the paired change.

    The interval of the change is widened after Bonferroni, because a reader looks at the worst of all classes.
    """
    assert before.labels is not None, "these answers were kept without the true classes"
    present = [int(label) for label in before.labels.unique()]
    z = NormalDist().inv_cdf(1 - 0.025 / max(len(present), 1))
    changes = []
    for label in present:
        old, new = (_only(outcome, before.labels == label, names[label]) for outcome in (before, after))
        changes.append(ClassChange(names[label], old.n, old.top1, new.top1, difference(old, new, z)))
    return tuple(changes)


def expected_error(pairs: Tensor) -> Tensor:
    """Expected calibration error of answers [r, n, 2] (confidence, right), as a share [r].

    The sum over bins of |right answers - summed confidence| / n, equation 3 of Guo et al. with the sizes cancelled.
    """
    gap = pairs[..., 1] - pairs[..., 0]
    sums = gap.new_zeros(len(pairs), BINS).scatter_add(1, _bin_of(pairs[..., 0]), gap)
    return sums.abs().sum(1) / pairs.shape[1]


def _debiased(pairs: Tensor, outcome: Outcome) -> Quantity:
    """The plain estimate minus its bias, which drawing anew shows; the interval is reflected in the same way."""
    plain = float(expected_error(pairs[None])[0])
    drawn = bootstrap.draws(pairs, expected_error)
    low, high = torch.quantile(drawn, bootstrap.ENDS).tolist()
    value, least, most = (max(0.0, 2 * plain - point) for point in (float(drawn.mean()), high, low))
    source = (
        f"expected calibration error over {BINS} bins, {outcome.n:,} images of {outcome.where}, corrected for its bias "
        f"({plain:.4f} before); 95 % basic bootstrap interval over the images"
    )
    return Quantity(value, "share", Evidence.MEASURED, source, min(least, value), max(most, value))


def _bin_of(confidence: Tensor) -> Tensor:
    """Number of the bin; its upper end belongs to it."""
    return (confidence * BINS).ceil().long().clamp(1, BINS) - 1


def _bins(pairs: Tensor, where: str) -> tuple[Bin, ...]:
    number = _bin_of(pairs[:, 0])
    bins = []
    for place in range(BINS):
        inside = pairs[number == place]
        if len(inside):
            right = _share(int(inside[:, 1].sum()), len(inside), "right answers of that confidence", where)
            sure = float(inside[:, 0].mean())
            bins.append(Bin(place / BINS, (place + 1) / BINS, len(inside), sure, right))
    return tuple(bins)


def _only(outcome: Outcome, chosen: Tensor, name: str) -> Outcome:
    where = f"{outcome.where} of class {name}"
    return Outcome(outcome.predictions[chosen], outcome.correct[chosen], outcome.confidence[chosen], where)


def _share(count: int, n: int, kind: str, where: str) -> Quantity:
    low, high = wilson(count, n)
    source = f"{kind}: {count:,} of {n:,} images of {where}; 95 % Wilson interval"
    return Quantity(count / n, "share", Evidence.MEASURED, source, low, high)
