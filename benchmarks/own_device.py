"""This machine as somebody's own edge device: calibrate it, then predict ten networks it was not calibrated on.

Prints each prediction beside the time that was measured, both on one thread, and the median error. Limit: 15 %. Times
are of the processor, so that other programs lengthen neither; they still disturb its caches.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import timm

from vitedge_core.cost.own_latency import learned, predict
from vitedge_core.measure.calibrate import calibrate
from vitedge_core.measure.ladder import NETWORKS, Rung
from vitedge_core.models.trace import trace

UNSEEN = (
    "deit_small_patch16_224", "vit_small_patch32_224", "swin_tiny_patch4_window7_224", "mobilevit_s", "tiny_vit_5m_224",
    "efficientformer_l1", "poolformer_s12", "crossvit_tiny_240", "mobilenetv4_hybrid_medium", "edgenext_small",
)  # fmt: skip


def rung(name: str) -> Rung:
    return Rung(name, lambda: timm.create_model(name), trace(name).image, whole=True)


if __name__ == "__main__":
    assert not set(UNSEEN) & set(NETWORKS)
    board = calibrate("this machine", seconds=75.0)
    measured = calibrate("this machine", seconds=30.0, subjects=[rung(name) for name in UNSEEN])
    errors, inside = [], 0
    print(f"{board.processor}: {board.macs_per_second / 1e9:.1f} GMAC/s, {board.bytes_per_second / 1e9:.1f} GB/s")
    for timing in measured.timings:
        told = predict(board, trace(timing.name))
        errors.append(told.value / timing.seconds - 1)
        inside += (told.low or 0) <= timing.seconds <= (told.high or 0)
        print(f"{timing.name}: predicted {1e3 * told.value:.1f} ms, measured {1e3 * timing.seconds:.1f} ms, "
              f"{errors[-1]:+.0%}")  # fmt: skip
    print(f"median error {statistics.median(map(abs, errors)):.1%} (limit 15 %), largest {max(map(abs, errors)):.0%}")
    print(f"{inside} of {len(errors)} inside the 80 % interval, which is a factor of {learned(board).spread:.2f}")
