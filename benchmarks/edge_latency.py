"""How far predicted edge latencies are off, beside two simpler models on the same rows, none of which any had seen.

Held out are a network with all its rows on every device (the strict figures, of the latency model and its baselines),
a network on one target (it may be known from others), and devices with all their rows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vitedge_core.cost.edge_accuracy import DEVICE, NETWORK, PAIR, Accuracy, accuracy
from vitedge_core.cost.edge_latency import edge_latencies
from vitedge_core.cost.edge_rows import refused, rows

SAID = {
    NETWORK: "a network with all its rows on all devices (strict)",
    PAIR: "a network on one target; the network may be known from other targets",
    DEVICE: "a device with all its rows",
}


def table(lines: Iterable[Accuracy]) -> None:
    print(f"{'':34} {'':34} {'rows':>5} {'median':>7} {'<=1.5x':>7} {'<=2x':>7} {'80 % interval holds':>20}")
    for line in lines:
        held = "" if line.covered is None else f"{line.covered:.0%}"
        figures = f"{line.rows:5} {line.median:7.1%} {line.within_1_5:7.1%} {line.within_2:7.1%} {held:>20}"
        print(f"{line.of:34} {line.method:34} {figures}")


if __name__ == "__main__":
    start = time.process_time()
    latencies = edge_latencies()
    print(
        f"{len(rows())} rows of {len(latencies.targets)} targets to learn from, {len(refused())} kept apart or rejected"
    )
    for held_out, sentence in SAID.items():
        print(f"\nheld out: {sentence}")
        table(accuracy(latencies, held_out))
    print("\ngoals: median 15 %, 90 % within 1.5x, interval holds 75 to 85 %")
    print(f"{time.process_time() - start:.1f} s of processor time")
