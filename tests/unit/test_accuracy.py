"""Accuracy: counts, intervals, and the paired difference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.measure.accuracy import Outcome, difference, evaluate
from vitedge_core.preprocessing import Preprocessing

PREPARED = Preprocessing(2, (0.0,) * 3, (1.0,) * 3)


class Told:
    """Images whose first pixel is the class that the network below answers."""

    title, task, digest, key, class_names, skipped = "told", "", "told", "told", ("a", "b", "c"), 0

    def __init__(self, answers: list[int], labels: list[int]) -> None:
        self.answers, self.labels = answers, labels

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, preprocessing, limit=None, size=4) -> Iterator[Batch]:
        answers, labels = self.answers[:limit], self.labels[:limit]
        for start in range(0, len(labels), size):
            images = torch.zeros(len(labels[start : start + size]), 3, 2, 2)
            images[:, 0, 0, 0] = torch.tensor(answers[start : start + size])
            yield Batch(images, torch.tensor(labels[start : start + size]))


class Reads(nn.Module):
    def forward(self, images):
        return nn.functional.one_hot(images[:, 0, 0, 0].long(), 3).float() * 9


def outcome(correct: list[bool]) -> Outcome:
    right = torch.tensor(correct)
    return Outcome(right.long(), right, right.float(), "a set")


def test_evaluate_counts_right_answers():
    found = evaluate(Reads(), Told([0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 1, 0]), PREPARED)  # type: ignore[arg-type]
    assert found.predictions.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.correct.tolist() == [True, True, True, False, True, False]
    assert (found.right, found.n) == (4, 6)
    assert found.top1.value == pytest.approx(4 / 6)
    assert found.top1.evidence is Evidence.MEASURED
    assert "4 of 6 images of told" in found.top1.source
    assert found.top1.low < 4 / 6 < found.top1.high


def test_the_limit_takes_the_first_images():
    found = evaluate(Reads(), Told([0] * 9, [0] * 4 + [1] * 5), PREPARED, 4)  # type: ignore[arg-type]
    assert (found.right, found.n) == (4, 4)


def test_no_image_is_no_accuracy():
    with pytest.raises(VitEdgeError, match="Not one image"):
        evaluate(Reads(), Told([], []), PREPARED)  # type: ignore[arg-type]
    with pytest.raises(VitEdgeError, match="at least 1 image"):
        evaluate(Reads(), Told([0], [0]), PREPARED, 0)  # type: ignore[arg-type]


def test_cancelling_stops_between_batches():
    asked = iter([False, True])
    shares: list[float] = []
    with pytest.raises(Cancelled):
        evaluate(
            Reads(), Told([0] * 12, [0] * 12), PREPARED,  # type: ignore[arg-type]
            report=lambda share, _: shares.append(share), cancelled=lambda: next(asked),
        )  # fmt: skip
    assert shares == [pytest.approx(4 / 12)]


pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(pairs)
def test_a_difference_lies_in_its_interval_and_turns_with_its_sides(answers):
    one, other = (outcome([pair[side] for pair in answers]) for side in (0, 1))
    there, back = difference(one, other), difference(other, one)
    assert there.value == pytest.approx(other.top1.value - one.top1.value)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert back.low == pytest.approx(-there.high)
    assert back.high == pytest.approx(-there.low)


def test_no_difference_seen_is_not_no_difference():
    same = outcome([True] * 90 + [False] * 10)
    found = difference(same, same)
    assert found.value == 0
    assert found.low < -0.005
    assert found.high > 0.005


def test_a_published_example():
    """Newcombe 1998, table III, method 10: 36, 12, 2, 0 gives 0.20 with 0.0569 to 0.3404."""
    one = outcome([True] * 36 + [False] * 12 + [True] * 2)
    other = outcome([True] * 36 + [True] * 12 + [False] * 2)
    found = difference(one, other)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.0569, abs=2e-4), pytest.approx(0.3404, abs=2e-4))


def test_the_interval_covers_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    shares = [0.75, 0.03, 0.10, 0.12]  # both right, gained, lost, both wrong
    hits = 0
    for _ in range(400):
        kind = rng.choice(4, 200, p=shares)
        found = difference(outcome(((kind == 0) | (kind == 2)).tolist()), outcome((kind <= 1).tolist()))
        hits += found.low <= -0.07 <= found.high
    assert 0.92 <= hits / 400 <= 0.99


def test_different_images_are_not_paired():
    with pytest.raises(ValueError, match="same images"):
        difference(outcome([True]), outcome([True, False]))
