"""The training loop: its schedule, its ends, its reports, and that it repeats bit for bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.surgery.train import Progress, Schedule, Trainer, fit


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def batches(count: int, seed: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 8, 3, 2, 2, generator=generator)
    return [Batch(part, (part.sum((1, 2, 3)) > 0).long()) for part in images]


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(model(batch.images), batch.labels)


@given(st.integers(1, 1000), st.floats(1e-5, 1e-1), st.floats(0, 1))
def test_the_rate_rises_then_falls_and_never_exceeds_its_peak(steps, lr, done):
    schedule = Schedule(steps, lr)
    assert 0 <= schedule.rate(done) <= lr * (1 + 1e-9)
    assert schedule.rate(schedule.warmup) == pytest.approx(lr)
    assert schedule.rate(1.0) == pytest.approx(0, abs=1e-9)


@given(st.integers(1, 100), st.integers(0, 200), st.floats(0, 100))
def test_done_is_what_is_reached_first(steps, step, seconds):
    assert Schedule(steps, 1.0).done(step, seconds) == step / steps
    assert Schedule(steps, 1.0, seconds=50.0).done(step, seconds) == max(step / steps, seconds / 50)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_it_learns_and_repeats_bit_for_bit(average):
    held_out = batches(4, seed=9)
    states = []
    for _ in range(2):
        model = network()
        before = sum(loss(model.eval(), batch).item() for batch in held_out)
        fit(model, batches(60), loss, Schedule(60, 1e-2, average=average))
        assert sum(loss(model, batch).item() for batch in held_out) < 0.8 * before
        assert not model.training
        assert all(parameter.grad is None for parameter in model.parameters())
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_average_is_the_moving_average_of_the_weights():
    averaged, plain, seen = network(), network(), []
    fit(plain, batches(3), loss, Schedule(3, 1e-2), after_step=lambda m: seen.append(m[1].weight.detach().clone()))
    fit(averaged, batches(3), loss, Schedule(3, 1e-2, average=0.5))
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.5 * expected + 0.5 * weight
    torch.testing.assert_close(averaged[1].weight, expected)


def test_a_trainer_that_is_driven_by_hand_does_what_fit_does():
    by_hand, fitted = network(), network()
    fit(fitted, batches(5), loss, Schedule(5, 1e-2))
    trainer = Trainer(by_hand, loss, Schedule(5, 1e-2))
    for step, batch in enumerate(batches(5)):
        trainer.step(batch, step / 5)
    trainer.finish()
    assert trainer.steps == 5
    assert all(torch.equal(by_hand.state_dict()[key], value) for key, value in fitted.state_dict().items())


def test_reports_say_where_it_stands():
    told: list[Progress] = []
    fit(network(), batches(7), loss, Schedule(7, 1e-2), report=told.append, report_every=3)
    assert [(p.step, p.images) for p in told] == [(3, 24), (6, 48), (7, 56)]
    assert all(p.loss > 0 for p in told)


def test_steps_end_an_endless_stream_and_a_short_stream_ends_early():
    steps = []
    fit(network(), batches(9), loss, Schedule(4, 1e-2), after_step=lambda m: steps.append(1))
    assert len(steps) == 4
    fit(network(), batches(2), loss, Schedule(4, 1e-2), after_step=lambda m: steps.append(1))
    assert len(steps) == 6


def test_cancelled_and_diverged():
    with pytest.raises(Cancelled):
        fit(network(), batches(3), loss, Schedule(3, 1e-2), cancelled=lambda: True)
    with pytest.raises(VitEdgeError, match=r"diverged at step 0; try a smaller learning rate than 0\.01"):
        fit(network(), batches(3), lambda m, b: loss(m, b) * float("nan"), Schedule(3, 1e-2))


def test_frozen_parameters_stay():
    model = network()
    model[1].requires_grad_(requires_grad=False)
    before = model[1].weight.clone()
    fit(model, batches(3), loss, Schedule(3, 1e-2))
    assert torch.equal(model[1].weight, before)
