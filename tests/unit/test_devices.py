"""Devices as their data sheets describe them."""

import pytest

from vitedge_core.cost.devices import device, devices
from vitedge_core.errors import VitEdgeError


def test_all_devices_of_the_table_are_there_with_a_source():
    assert len(devices()) == 35
    assert len({d.name for d in devices()}) == 35
    assert all(d.source and d.verified and d.kind in {"cpu", "gpu", "npu"} for d in devices())


def test_a_device_has_plain_units():
    pi = device("Raspberry Pi 5")
    assert pi.kind == "cpu"
    assert dict(pi.peaks) == {32: 153.6e9, 16: 307.2e9, 8: 614e9}
    assert pi.bandwidth == pytest.approx(17.1e9)
    assert pi.memory == (2e9, 4e9, 8e9, 16e9)
    assert pi.power == 12


def test_the_peak_is_that_of_the_narrowest_arithmetic_that_holds_the_bits():
    pi = device("Raspberry Pi 5")
    assert pi.macs_per_second(8) == 307e9
    assert pi.macs_per_second(6) == 307e9
    assert pi.macs_per_second(12) == 153.6e9
    assert pi.macs_per_second(32) == 76.8e9
    assert device("Hailo-8").macs_per_second(32) is None


def test_what_nobody_published_is_none():
    assert device("Snapdragon 8 Elite Gen 5").bandwidth is None
    assert device("Coral USB Edge TPU").memory == (8e6,)
    assert device("Snapdragon X2 Elite").power == 40


def test_kinds():
    kinds = {d.name: d.kind for d in devices()}
    assert kinds["iPhone 12 (A14)"] == kinds["RK3588 / OrangePi 5"] == kinds["QRB5165 (RB5)"] == "npu"
    assert kinds["Jetson TX2 NX"] == kinds["Google Pixel 6 (Tensor G1)"] == "gpu"
    assert kinds["RK3566"] == kinds["Snapdragon 8 Gen 2 phone"] == "cpu"


def test_an_unknown_device_is_told_its_nearest_name():
    with pytest.raises(VitEdgeError, match="Raspberry Pi 5"):
        device("Raspbery Pi 5")
