"""The stopwatch: in turn, with intervals, with a word on a busy machine; and the measured memory."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.measure import latency
from vitedge_core.measure.latency import Timings, compare
from vitedge_core.measure.memory import peak_memory
from vitedge_core.measure.size import weight_bytes


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


def test_models_are_timed_in_turn_after_a_warm_up():
    calls: list[str] = []
    models = {"a": Waits("a", 0.005, calls), "b": Waits("b", 0.03, calls)}
    found = compare(models, IMAGE, seconds=0.0)
    assert found.rounds == latency.LEAST
    assert calls == ["a"] * latency.WARM_UP + ["b"] * latency.WARM_UP + ["a", "b"] * latency.LEAST
    assert 0.005 <= found.median("a").value < found.median("b").value
    ratio = found.ratio("b", "a")
    assert ratio.low <= ratio.value <= ratio.high
    assert 1 < ratio.value <= 6.5


@pytest.mark.parametrize(("seconds", "passes"), [(1e-5, 200), (1.9e-3, 1), (3.0, 1), (0.0, 20_000)])
def test_a_short_pass_is_repeated_until_the_clock_can_see_it(monkeypatch, seconds, passes):
    monkeypatch.setattr(latency, "_one_sample", lambda *_: seconds)
    assert latency._warmed(nn.Identity(), IMAGE) == passes


def test_a_sample_is_the_time_of_one_of_its_passes():
    calls: list[str] = []
    start = time.perf_counter()
    sample = latency._one_sample(Waits("a", 0.01, calls).eval(), IMAGE, 3)
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
    warning = latency._warning(got, 4)
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
