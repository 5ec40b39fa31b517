"""The stopwatch: in turn, with intervals, with a word on a busy machine; and the measured memory."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.measure import latency
from vitedge_core.measure.latency import Timings, compare
from vitedge_core.measure.memory import peak_memory
from vitedge_core.measure.size import weight_bytes
from vitedge_core.text.human import faster


class Waits(nn.Module):
    """Takes the given time and writes its name into a list."""

    def __init__(self, name: str, seconds: float, calls: list[str]) -> None:
        super().__init__()
        self.name, self.seconds, self.calls = name, seconds, calls

    def forward(self, images):
        assert not self.training
        self.calls.append(self.name)
        time.sleep(self.seconds)
        return images


IMAGE = torch.zeros(1, 3, 8, 8)


def test_models_are_timed_in_turn_after_a_warm_up(monkeypatch):
    monkeypatch.setattr(latency, "_warmed", lambda run, example, cancelled: latency._Subject(run))
    calls: list[str] = []
    models = {"a": Waits("a", 0.005, calls), "b": Waits("b", 0.03, calls)}
    found = compare(models, IMAGE, seconds=0.0)
    assert found.rounds == latency.LEAST
    assert calls == ["a", "b"] * latency.LEAST
    assert 0.005 <= found.median("a").value < found.median("b").value
    ratio = found.ratio("b", "a")
    assert ratio.low <= ratio.value <= ratio.high
    assert 1 < ratio.value <= 6.5


def warmed(monkeypatch, seconds: list[float]) -> tuple[latency._Subject, int]:
    """How a runner whose passes take these times is warmed up, and after how many passes."""
    left = iter(seconds)
    taken: list[float] = []

    def sample(*_):
        taken.append(next(left, seconds[-1]))
        return taken[-1], 0.0

    monkeypatch.setattr(latency, "_one_sample", sample)
    return latency._warmed(lambda images: images, IMAGE, lambda: False), len(taken)


@pytest.mark.parametrize(("seconds", "passes"), [(1e-5, 200), (1.9e-3, 1), (3.0, 1), (0.0, 20_000)])
def test_a_short_pass_is_repeated_until_the_clock_can_see_it(monkeypatch, seconds, passes):
    assert warmed(monkeypatch, [seconds])[0].passes == passes


def test_a_warm_up_goes_on_while_the_passes_get_shorter(monkeypatch):
    steady = warmed(monkeypatch, [0.1])[1]
    assert steady == 2 * latency.WARM_UP
    falling = [0.4] * latency.WARM_UP + [0.3] * latency.WARM_UP + [0.2] * latency.WARM_UP + [0.1] * latency.WARM_UP
    subject, passes = warmed(monkeypatch, falling)
    assert passes == len(falling) + latency.WARM_UP
    assert not subject.cold


def test_a_warm_up_that_never_ends_is_ended(monkeypatch):
    monkeypatch.setattr(latency, "_WARM_SECONDS", 0.0)
    assert warmed(monkeypatch, [1 / (place + 1) for place in range(1_000)])[1] == latency.WARM_UP


def test_a_short_sample_follows_a_pass_that_fills_the_caches_again():
    calls: list[str] = []
    model = Waits("a", 0.001, calls).eval()
    latency._take(latency._Subject(model, passes=3, cold=True), IMAGE)
    assert len(calls) == 4
    latency._take(latency._Subject(model, passes=3, cold=False), IMAGE)
    assert len(calls) == 7


def test_anything_that_can_be_called_is_timed_with_whatever_it_takes():
    seen: list[object] = []
    files = [b"one", b"two"]
    found = compare({"a": seen.append}, files, seconds=0.0, rounds=1, what="one pass from the file")
    assert all(given is files for given in seen)
    assert found.batch == 2
    assert "one pass from the file, a batch of 2 images" in found.median("a").source


def test_processor_time_is_apart_from_the_time_on_the_wall():
    found = compare({"sleeps": Waits("a", 0.01, [])}, IMAGE, seconds=0.0)
    assert found.cpu("sleeps").value < 0.5 * found.median("sleeps").value
    assert "processor time" in found.cpu("sleeps").source


def test_the_slow_pass_is_above_the_median():
    samples = {"a": np.arange(1.0, 101.0)}
    found = Timings(samples, threads=1, batch=1, warning=None)
    slow = found.slow("a")
    assert slow.value == pytest.approx(95.05)
    assert found.median("a").value < slow.low <= slow.value <= slow.high <= 100


def test_a_sample_is_the_time_of_one_of_its_passes():
    calls: list[str] = []
    start = time.perf_counter()
    sample, _ = latency._one_sample(Waits("a", 0.01, calls).eval(), IMAGE, 3)
    assert len(calls) == 3
    assert 0.01 <= sample <= (time.perf_counter() - start) / 3


def test_a_median_says_how_it_was_measured():
    samples = {"a": np.array([1.0, 2.0, 9.0]), "b": np.array([2.0, 4.0, 18.0])}
    found = Timings(samples, threads=2, batch=4, warning=None)
    median = found.median("a")
    assert (median.value, median.unit, median.evidence) == (2.0, "s", Evidence.MEASURED)
    assert 1.0 <= median.low <= 2.0 <= median.high <= 9.0
    assert "batch of 4 images, 2 threads, 3 interleaved rounds" in median.source
    ratio = found.ratio("b", "a")
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 2.0, 2.0)  # what troubles both alike cancels


LONG = st.lists(st.floats(0.001, 10.0), min_size=7, max_size=40)


@settings(max_examples=40)
@given(LONG, st.floats(0.01, 100.0))
def test_a_constant_factor_is_found_whatever_troubles_both(samples, factor):
    """The law of paired ratios: what a busy machine does to a round cancels."""
    noise = np.array(samples)
    ratio = Timings({"a": noise, "b": factor * noise}, threads=1, batch=1, warning=None).ratio("b", "a")
    assert ratio.value == pytest.approx(factor)
    assert ratio.low == pytest.approx(factor)
    assert ratio.high == pytest.approx(factor)
    if abs(factor - 1) > 1e-6:
        assert ratio.excludes(1)


@settings(max_examples=40)
@given(LONG, LONG)
def test_intervals_hold_their_value_and_turn_round_with_the_ratio(first, second):
    rounds = min(len(first), len(second))
    samples = {"a": np.array(first[:rounds]), "b": np.array(second[:rounds])}
    found = Timings(samples, threads=1, batch=1, warning=None, processor=samples)
    for quantity in (found.median("a"), found.slow("a"), found.cpu("a"), found.ratio("a", "b")):
        assert quantity.low <= quantity.value <= quantity.high
        assert min(first) * 0.999 <= quantity.value or quantity.unit == "ratio"
    there, back = found.ratio("a", "b"), found.ratio("b", "a")
    if rounds % 2:  # of an odd number the median is one of the pairs, so both ways choose the same
        assert there.value == pytest.approx(1 / back.value)
    turned = faster(there)
    assert (turned.low, turned.high) == (1 / there.high, 1 / there.low)


def test_equal_models_differ_by_no_more_than_chance():
    """The interval's promise, with made-up noise: of 200 comparisons of equals about 5 % may claim a difference."""
    rng = np.random.default_rng(1)
    claims = 0
    for _ in range(200):
        noise = rng.lognormal(0, 0.2, (2, 40))
        claims += Timings({"a": noise[0], "b": noise[1]}, 1, 1, None).ratio("a", "b").excludes(1)
    assert claims <= 22


def test_nothing_is_kept_for_gradients():
    modes: list[bool] = []

    class Looks(nn.Module):
        def forward(self, images):
            modes.append(torch.is_inference_mode_enabled())
            return images

    compare({"a": Looks()}, IMAGE, seconds=0.0, rounds=1)
    assert all(modes)


def test_threads_are_put_back(monkeypatch):
    monkeypatch.setattr(latency.os, "cpu_count", lambda: 4)
    before = torch.get_num_threads()
    seen: list[int] = []

    class Looks(nn.Module):
        def forward(self, images):
            seen.append(torch.get_num_threads())
            return images

    compare({"a": Looks()}, IMAGE, threads=2, seconds=0.0, rounds=1)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_threads_out_of_range_are_refused(threads):
    with pytest.raises(VitEdgeError, match=f"not {threads}"):
        compare({"a": nn.Identity()}, IMAGE, threads=threads)


def test_cancelling_frees_the_stopwatch():
    with pytest.raises(Cancelled):
        compare({"a": nn.Identity()}, IMAGE, cancelled=lambda: True)
    assert compare({"a": nn.Identity()}, IMAGE, seconds=0.0, rounds=1).rounds == 1


def test_two_timings_never_run_at_once():
    with latency._stopwatch, pytest.raises(Cancelled):
        compare({"a": nn.Identity()}, IMAGE, cancelled=lambda: True)


@pytest.mark.parametrize(("got", "load", "busy"), [(1.0, 1.0, False), (0.6, 1.0, True), (1.0, 7.5, True)])
def test_a_busy_machine_is_told(monkeypatch, got, load, busy):
    monkeypatch.setattr(latency.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(latency.os, "cpu_count", lambda: 4)
    warning = latency.busy(got)
    assert (warning is not None) == busy
    if busy:
        assert f"load {load:.1f} on 4 cores" in warning


def test_measured_memory_counts_weights_and_what_is_alive():
    layer = nn.Linear(8, 1000, bias=False)
    example = torch.zeros(2, 8)
    found = peak_memory(layer, example)
    assert found.value == 4 * (8_000 + 16 + 2_000)
    deep = nn.Sequential(nn.Linear(8, 1000, bias=False), nn.ReLU(), nn.Linear(1000, 8, bias=False))
    assert peak_memory(deep, example).value == 4 * (16_000 + 16 + 2 * 2_000)  # two maps are alive at once


def test_size_is_what_lies_on_the_disk(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x" * 123)
    assert weight_bytes(tmp_path).value == 123
    with pytest.raises(VitEdgeError, match="no package"):
        weight_bytes(tmp_path / "nowhere")
