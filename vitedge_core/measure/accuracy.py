"""How often a model is right on labelled images, with an interval, and paired differences between two models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vitedge_core.datasets.batch import Batch
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity, wilson
from vitedge_core.preprocessing import Preprocessing

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A model's answers to n images of a set, in the set's order.

    predictions: [n] class numbers; correct: [n] bool; confidence: [n] probability of the answer; where: the set, in
    words; labels: [n] true classes, where they were kept.
    """

    predictions: Tensor
    correct: Tensor
    confidence: Tensor
    where: str
    labels: Tensor | None = None

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.correct)

    @property
    def right(self) -> int:
        """On how many the model was right."""
        return int(self.correct.sum())

    def first(self, n: int) -> Outcome:
        """The answers to the first n images only."""
        if n >= self.n:
            return self
        labels = None if self.labels is None else self.labels[:n]
        return replace(
            self, predictions=self.predictions[:n], correct=self.correct[:n], confidence=self.confidence[:n],
            labels=labels,
        )  # fmt: skip

    @property
    def top1(self) -> Quantity:
        """Share of right answers with its Wilson interval."""
        low, high = wilson(self.right, self.n)
        source = f"right on {self.right:,} of {self.n:,} images of {self.where}; 95 % Wilson interval"
        return Quantity(self.right / self.n, "share", Evidence.MEASURED, source, low, high)


def evaluate(
    model: nn.Module,
    images: LabelledImages,
    preprocessing: Preprocessing,
    limit: int | None = None,
    *,
    rungs: Collection[int] = (),
    enough: Callable[[Outcome], bool] = lambda outcome: False,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Ask the model about the first `limit` images of a set, all of them by default.

    Args:
        model: In any mode; it is left in eval mode.
        images: Whom to ask about.
        preprocessing: What the model wants.
        limit: Images at most, None for all.
        rungs: After so many images `enough` is asked whether the answers so far will do.
        enough: Says so; then the outcome has fewer images.
        report: Called with the share done in 0..1 and a sentence.
        cancelled: Asked often.

    Raises:
        VitEdgeError: No image could be read.
        Cancelled: `cancelled` said so.
    """
    if limit is not None and limit < 1:
        raise VitEdgeError(f"Accuracy needs at least 1 image, not {limit}.")
    total = len(images) if limit is None else min(limit, len(images))
    answers = _Answers(images.title)
    model.eval()
    for batch in _pieces(images.batches(preprocessing, limit), rungs):
        if cancelled():
            raise Cancelled
        with torch.inference_mode():
            probability, answer = model(batch.images).softmax(-1).max(-1)
        answers.add(answer, probability, batch.labels)
        report(min(1.0, answers.n / total), f"{answers.n:,} of {total:,} images of {images.title}")
        if answers.n in rungs and enough(answers.outcome()):
            break
    if not answers.n:
        raise VitEdgeError(f"Not one image of {images.title} could be read.")
    return answers.outcome()


class _Answers:
    """What a model said so far."""

    def __init__(self, where: str) -> None:
        self.where, self.n = where, 0
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, answers: Tensor, probabilities: Tensor, labels: Tensor) -> None:
        self._parts.append((answers, probabilities, labels))
        self.n += len(answers)

    def outcome(self) -> Outcome:
        predictions, sure, truth = (torch.cat(each).clone() for each in zip(*self._parts, strict=True))
        return Outcome(predictions, predictions == truth, sure, self.where, truth)


def _pieces(batches: Iterator[Batch], ends: Collection[int]) -> Iterator[Batch]:
    """The batches, cut where a number of images in `ends` is reached."""
    done = 0
    for batch in batches:
        size = len(batch.labels)
        cuts = [0, *sorted(end - done for end in ends if done < end < done + size), size]
        for start, stop in itertools.pairwise(cuts):
            whole = (start, stop) == (0, size)
            yield batch if whole else Batch(batch.images[start:stop], batch.labels[start:stop])
        done += size


def difference(baseline: Outcome, other: Outcome, z: float = 1.96) -> Quantity:
    """How much more often `other` is right than `baseline` on the same images, as a share; negative is worse.

    `z` is how many deviations wide the interval is on either side; 1.96 makes it 95 %.

    Interval: Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", Statistics in Medicine 17, 1998, method 10. Unlike a bootstrap it stays honest when no answer differs.
    """
    if baseline.n != other.n or baseline.where != other.where:
        raise ValueError("a paired difference needs the same images")
    n = baseline.n
    gained = int((other.correct & ~baseline.correct).sum())
    lost = int((baseline.correct & ~other.correct).sum())
    both = int((baseline.correct & other.correct).sum())
    low, high = _newcombe(both, gained, lost, n - both - gained - lost, z)
    level = f"{100 * math.erf(z / math.sqrt(2)):.3g} %"
    source = (
        f"paired on the same {n:,} images of {baseline.where}: {lost:,} lost, {gained:,} gained; {level} Newcombe "
        "interval"
    )
    return Quantity((gained - lost) / n, "share", Evidence.MEASURED, source, low, high)


def _newcombe(both: int, gained: int, lost: int, neither: int, z: float) -> tuple[float, float]:
    """Interval of (gained - lost) / n from the counts of a two-by-two table."""
    n = both + gained + lost + neither
    after, before = (both + gained) / n, (both + lost) / n
    low_after, high_after = wilson(both + gained, n, z)
    low_before, high_before = wilson(both + lost, n, z)
    product = math.prod((both + gained, lost + neither, both + lost, gained + neither))
    agreement = both * neither - gained * lost
    if agreement > 0:
        agreement = max(agreement - n / 2, 0.0)
    phi = agreement / math.sqrt(product) if product else 0.0
    down = _together(after - low_after, high_before - before, phi)
    up = _together(high_after - after, before - low_before, phi)
    change = (gained - lost) / n
    return max(-1.0, change - down), min(1.0, change + up)


def _together(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))
