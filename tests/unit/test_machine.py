"""This machine measured, and the clock that a busy machine does not lengthen."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from vitedge_core.cost import own_devices
from vitedge_core.cost.roofline import roofline
from vitedge_core.errors import Cancelled
from vitedge_core.measure import machine
from vitedge_core.models.trace import trace


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path))
    monkeypatch.setattr(machine, "_SECONDS", 0.02)


def test_it_is_measured_kept_and_a_device():
    assert own_devices.this_machine() is None
    found = machine.this_machine()
    assert own_devices.this_machine() == found
    assert 1e8 < found.macs_per_second < 1e13
    assert 1e8 < found.bytes_per_second < 1e13
    assert 1e-8 < found.call_seconds < 1e-3
    device = own_devices.any_device(own_devices.THIS_MACHINE)
    assert device.macs_per_second(32) == found.macs_per_second
    assert roofline(trace("digits_vit_base"), device).seconds.value > 0


def test_no_layer_is_faster_than_the_peak():
    side = 512
    layer, values = torch.nn.Linear(side, side, bias=False), torch.randn(side, side)
    with torch.inference_mode():
        layer(values)
        start = time.thread_time()
        for _ in range(5):
            layer(values)
        reached = 5 * side**3 / (time.thread_time() - start)
    assert reached < 1.5 * machine.peak()


def test_cancelling_keeps_nothing():
    with pytest.raises(Cancelled):
        machine.this_machine(cancelled=lambda: True)
    assert own_devices.this_machine() is None


def test_other_programs_do_not_count():
    def busy() -> None:
        end = time.perf_counter() + 0.2
        while time.perf_counter() < end:
            sum(range(1000))

    now = machine.clock()
    others = [threading.Thread(target=busy) for _ in range(3)]
    for thread in others:
        thread.start()
    start, wall = now(), time.perf_counter()
    for thread in others:
        thread.join()
    assert now() - start < (time.perf_counter() - wall) / 2
