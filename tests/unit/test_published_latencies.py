"""The published latencies: whole, sourced, and only what is possible and end to end is learnt from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vitedge_core.cost.edge_rows import beyond_peak, refused, rows
from vitedge_core.published.latencies import latencies, latency_devices, latency_networks


def test_every_row_is_carried_over_with_its_source():
    assert len(latencies()) == 1228
    assert len({row.device for row in latencies()}) == len(latency_devices()) == 72
    assert all(row.source and row.verified and row.seconds > 0 for row in latencies())


def test_every_row_is_either_learnt_from_or_refused_with_a_reason():
    assert len(rows()) + len(refused()) == len(latencies())
    assert all(each.reason.startswith(("Kept apart: ", "Rejected: ")) for each in refused())
    assert all(each.reason.endswith(".") for each in refused())


@pytest.mark.parametrize(("how", "count"), [("per-op sum", 53), ("figure-read", 17), ("device unspecified", 1)])
def test_what_is_not_end_to_end_is_kept_apart(how, count):
    apart = [each for each in refused() if how in each.published.verified]
    assert len(apart) == count
    assert not any(how in row.published.verified for row in rows())


def test_networks_that_timm_lacks_are_kept_apart():
    reasons = {each.published.model: each.reason for each in refused()}
    assert "timm has no such network" in reasons["segformer_b0 512x512"]
    assert "text tower" in reasons["openai CLIP ViT-B/16 (image+text graph)"]


def test_a_latency_shorter_than_the_peak_allows_is_rejected():
    row = next(r for r in rows() if r.published.device == "Raspberry Pi 5" and r.published.model == "resnet50")
    assert beyond_peak(row.example) == ""
    sentence = beyond_peak(replace(row.example, seconds=row.example.seconds / 10))
    assert "times the peak" in sentence
    assert "Raspberry Pi 5" in sentence


def test_no_published_row_needs_more_than_the_peak():
    assert not any(beyond_peak(row.example) for row in rows())
    assert sum(row.example.target.macs_per_second is not None for row in rows()) > 500


def test_every_printed_network_is_known_or_lacking():
    for network in latency_networks().values():
        assert bool(network.network) != bool(network.lacking)
    assert {row.model for row in latencies()} == set(latency_networks())


def test_devices_of_one_chip_share_it():
    chips = {name: device.chip for name, device in latency_devices().items()}
    assert chips["QCS8275 (Proxy)"] == chips["SA7255P ADP"] != chips["SA8775P ADP"]
    alike = {(row.runtime, row.precision, row.model): row.seconds for row in latencies() if row.device == "SA7255P ADP"}
    pairs = [
        row.seconds / alike[key] for row in latencies()
        if row.device == "QCS8275 (Proxy)" and (key := (row.runtime, row.precision, row.model)) in alike
    ]  # fmt: skip
    assert len(pairs) > 15
    assert all(0.9 < ratio < 1.1 for ratio in pairs)
