"""Agreement of an engine with the eager model, on made-up logits and with runners that take whole batches only."""

from __future__ import annotations

import fake_engines
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.measure.engine_agreement import Answers, EngineAgreement, agree, filled


def made(logits: torch.Tensor, labels: list[int] | None = None) -> Answers:
    return Answers(logits, torch.tensor(labels or [0] * len(logits)), "made-up images")


def sure(*classes: int) -> torch.Tensor:
    return torch.eye(3)[list(classes)] * 5


def test_equal_logits_agree_wholly():
    found = agree(made(sure(0, 1, 2)), made(sure(0, 1, 2)))
    assert (found.same.value, found.error.value, found.difference.value) == (1, 0, 0)
    assert found.same.low < 1, "three images do not prove that all agree"
    assert not found.flagged


def test_changed_answers_and_accuracies_are_counted():
    before, after = made(sure(0, 0, 1, 2), [0, 0, 1, 0]), made(sure(0, 1, 1, 0), [0, 0, 1, 0])
    found = agree(before, after)
    assert found.n == 4
    assert found.same.value == 0.5
    assert (found.eager.value, found.accuracy.value) == (0.75, 0.75)
    assert found.difference.value == 0, "one was lost and one was gained"
    assert found.difference.low < 0 < found.difference.high


@settings(max_examples=25)
@given(st.floats(0.0, 3.0), st.integers(1, 12))
def test_the_error_of_scaled_logits_is_the_scale(scale, count):
    logits = torch.randn(count, 5, generator=torch.Generator().manual_seed(count)) + 0.1
    found = agree(made(logits), made(logits * (1 + scale)))
    assert found.error.value == pytest.approx(scale, abs=1e-5)
    assert found.error.low <= found.error.value <= found.error.high
    assert found.same.value == 1


@pytest.mark.parametrize(("changed", "flagged"), [(0, False), (2, False), (5, True), (30, True)])
def test_an_engine_is_flagged_when_it_changes_more_than_the_accuracy_is_known_to(changed, flagged):
    labels = [0] * 90 + [1] * 10  # 90 % right of 100: the interval's half width is 6 points
    labels = labels * 2  # of 200: 4.2 points
    before = sure(*[0] * 200)
    after = sure(*[2] * (2 * changed), *[0] * (200 - 2 * changed))
    found = agree(made(before, labels), made(after, labels))
    assert found.flagged == flagged
    assert found.flagged == (1 - found.same.value > (found.eager.high - found.eager.low) / 2)


def test_numbers_that_are_none_are_refused():
    broken = sure(0, 1)
    broken[1, 1] = float("nan")
    with pytest.raises(VitEdgeError, match="infinite or undefined"):
        agree(made(sure(0, 1)), made(broken))


def test_other_images_cannot_be_compared():
    with pytest.raises(ValueError, match="same images"):
        agree(made(sure(0, 1)), made(sure(0)))


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_batch_that_is_not_full_is_filled_and_cut(count):
    model = tiny.network("plain")
    runner = fake_engines.Strict(model, 1, 4)
    images = tiny.images(count)
    found = filled(runner, images)
    assert found.shape == (count, 10)
    assert torch.allclose(found, model(images), atol=1e-4)
    kept = found.clone()
    runner(tiny.images(4, seed=5))
    assert torch.equal(found, kept), "the next pass must not write over what was answered"


def test_it_survives_the_store():
    found = agree(made(sure(0, 1, 2)), made(sure(0, 1, 0)))
    assert EngineAgreement.from_dict(found.to_dict()) == found
