"""Flips add up, calibration of a known model is known, the worst class is found and judged with care."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.measure.accuracy import Outcome
from vitedge_core.measure.agreement import agreement, calibration, expected_error, flips, per_class

NAMES = ("zero", "one", "two")


def outcome(predictions, labels, confidence=None) -> Outcome:
    said, truth = torch.tensor(predictions), torch.tensor(labels)
    sure = torch.full((len(said),), 0.9) if confidence is None else confidence
    return Outcome(said, said == truth, sure, "a test", truth)


ANSWERS = st.lists(st.tuples(*(st.integers(0, 2),) * 3), min_size=1, max_size=60)


@given(ANSWERS)
def test_flips_are_all_images_each_counted_once(answers):
    labels, old, new = (list(column) for column in zip(*answers, strict=True))
    found = flips(outcome(old, labels), outcome(new, labels))
    kinds = (found.same, found.newly_wrong, found.newly_right, found.other_wrong)
    assert sum(round(kind.value * found.n) for kind in kinds) == found.n == len(answers)
    assert round(found.newly_wrong.value * found.n) == sum(o == t != n for t, o, n in answers)
    assert round(found.newly_right.value * found.n) == sum(n == t != o for t, o, n in answers)
    assert round(found.other_wrong.value * found.n) == sum(len({t, o, n}) == 3 for t, o, n in answers)


@given(ANSWERS)
def test_what_turns_wrong_and_right_is_the_change_of_the_accuracy(answers):
    labels, old, new = (list(column) for column in zip(*answers, strict=True))
    found = agreement(outcome(old, labels), outcome(new, labels), NAMES)
    assert found.flips.newly_right.value - found.flips.newly_wrong.value == pytest.approx(found.difference.value)
    assert sum(one.n for one in found.classes) == len(answers)


def sure_and_right(n: int, bias: float, seed: int = 0) -> Outcome:
    """Answers that are right as often as their confidence says, plus a bias."""
    generator = torch.Generator().manual_seed(seed)
    sure = 0.3 + 0.6 * torch.rand(n, generator=generator, dtype=torch.float64)
    right = torch.rand(n, generator=generator, dtype=torch.float64) < sure + bias
    return Outcome(right.long(), right, sure, "a test", torch.ones(n, dtype=torch.long))


def test_a_calibrated_model_has_no_calibration_error():
    found = calibration(sure_and_right(4_000, 0.0)).ece
    assert found.value < 0.02
    assert found.low < 0.005


@pytest.mark.parametrize("bias", [-0.2, 0.08])
def test_a_known_error_is_found(bias):
    found = calibration(sure_and_right(4_000, bias)).ece
    assert found.low <= abs(bias) <= found.high
    assert abs(found.value - abs(bias)) < 0.02


def test_few_images_do_not_make_it_look_worse():
    """The plain estimate of a calibrated model is far from zero on 200 images; corrected, it is near on average."""
    found = [calibration(sure_and_right(200, 0.0, seed)).ece.value for seed in range(12)]
    plain = [
        float(expected_error(torch.stack([o.confidence, o.correct.double()], 1)[None])[0])
        for o in (sure_and_right(200, 0.0, seed) for seed in range(12))
    ]
    assert sum(plain) / 12 > 0.08
    assert sum(found) / 12 < 0.6 * sum(plain) / 12


def test_bins_hold_every_answer_once_and_the_ends_belong_somewhere():
    sure = torch.tensor([0.0, 1 / 15, 0.5, 1.0], dtype=torch.float64)
    found = calibration(Outcome(torch.zeros(4), torch.tensor([True, False, True, True]), sure, "a test"))
    assert sum(one.n for one in found.bins) == 4
    assert found.bins[0].n == 2
    assert found.bins[-1].confidence == 1.0


def test_the_worst_class_is_named_and_clear_only_when_it_is():
    labels = [0] * 60 + [1] * 60 + [2] * 60
    clearly = [0] * 60 + [0] * 60 + [2] * 60
    found = agreement(outcome(labels, labels), outcome(clearly, labels), NAMES)
    assert found.worst.name == "one"
    assert found.worst.clear
    slightly = [0] * 60 + [1] * 59 + [0] + [2] * 60
    found = agreement(outcome(labels, labels), outcome(slightly, labels), NAMES)
    assert found.worst.name == "one"
    assert not found.worst.clear
    assert agreement(outcome(labels, labels), outcome(labels, labels), NAMES).worst is None


def test_many_classes_make_each_interval_wider():
    labels = [0] * 60 + [1] * 60
    worse = [0] * 50 + [1] * 10 + [1] * 60
    alone = per_class(outcome(labels[:60], labels[:60]), outcome(worse[:60], labels[:60]), NAMES)[0].change
    among = per_class(outcome(labels, labels), outcome(worse, labels), NAMES)[0].change
    assert alone.value == among.value
    assert among.high - among.low > 1.1 * (alone.high - alone.low)
    assert "97.5 % Newcombe" in among.source
