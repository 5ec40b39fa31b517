"""The verbs about devices: what a recipe takes there, which there are, and calibrating one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitedge_core.cli.asking import Adder, at_least_one, planned_of, recipe_of
from vitedge_core.cli.telling import print_json, print_table, progress
from vitedge_core.errors import VitEdgeError


def edge(arguments: argparse.Namespace) -> None:
    """Latencies on edge devices, predicted with an 80 % interval."""
    from vitedge_core.experiments.edge import predict_recipe, predict_rows, read_rows
    from vitedge_core.experiments.own_edge import board_rows

    if arguments.rows is not None:
        if arguments.model is not None or arguments.recipe is not None or arguments.device or arguments.batch != 1:
            raise VitEdgeError("Either --rows names the networks and devices, or a recipe and --device do.")
        found = predict_rows(read_rows(Path(arguments.rows)))
    else:
        plan = planned_of(recipe_of(arguments)).last
        found, others = board_rows(plan, arguments.device, arguments.batch)
        if others or not arguments.device:
            found += predict_recipe(plan, others, arguments.batch)
    if arguments.json:
        print_json(found)
        return
    rows = [["Device", "Runtime", "Precision", "Network", "Batch", "ms", "80 % interval"]]
    for row in found:
        names = [str(row[name]) for name in ("device", "runtime", "precision", "model", "batch")]
        known = "out_of_domain" not in row
        told = [f"{row['latency_ms']:g}", f"{row['low_ms']:g} to {row['high_ms']:g}"] if known else []
        rows.append([*names, *(told or ["", row["out_of_domain"]])])
    print_table(rows)


def devices(arguments: argparse.Namespace) -> None:
    """The known devices; import a board's own file, or forget a board."""
    from vitedge_core.cost.own_devices import all_devices, keep, remove

    if arguments.add is not None:
        keep(_device_file(Path(arguments.add)))
    if arguments.remove is not None:
        remove(arguments.remove)
    known = all_devices()
    if arguments.json:
        print_json({"devices": [_device(device) for device in known]})
        return
    rows: list[Sequence[str]] = [("Name", "Kind", "fp32 GMAC/s", "fp16", "int8", "GB/s", "W", "Figures")]
    for device in known:
        peaks = [f"{peak / 2e9:.4g}" if (peak := dict(device.peaks).get(bits)) else "" for bits in (32, 16, 8)]
        bandwidth = f"{device.bandwidth / 1e9:.3g}" if device.bandwidth else ""
        power = f"{device.power:g}" if device.power else ""
        how = "measured" if device.verified == "measured" else "published"
        rows.append((device.name, device.kind, *peaks, bandwidth, power, how))
    print_table(rows)


def _device_file(path: Path) -> bytes:
    from vitedge_core.cost.calibration import MAX_BYTES

    if not path.is_file():
        raise VitEdgeError(f"There is no device file {path}.")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _device(device: Any) -> dict[str, Any]:
    return {
        "name": device.name, "processor": device.processor, "kind": device.kind,
        "operations_per_second": {str(bits): peak for bits, peak in device.peaks},
        "bytes_per_second": device.bandwidth, "memory_bytes": list(device.memory), "power_watts": device.power,
        "source": device.source, "verified": device.verified,
    }  # fmt: skip


def calibrate(arguments: argparse.Namespace) -> None:
    """Time layers and networks on this board, into a file for `devices --import`."""
    from vitedge_core.measure.calibrate import calibrate as measured
    from vitedge_core.storage import written_whole

    out = Path(arguments.out)
    found = measured(arguments.name, arguments.threads, seconds=arguments.seconds, report=progress)
    progress.close()
    with written_whole(out) as path:
        path.write_text(found.to_json(), encoding="utf-8")
    print(f"{found.name} is calibrated from {len(found.timings)} timings: import {out} with `devices --import`.")


def add(verb: Adder) -> None:
    """These verbs and their options."""
    own = verb(edge, recipe=True)
    own.add_argument("--rows", metavar="FILE.csv", help="columns device, runtime, precision, model, batch")
    own.add_argument("--device", action="append", default=[], metavar="NAME", help="repeatable (all)")
    own.add_argument("--batch", type=at_least_one, default=1, metavar="N", help="images in an inference (1)")
    own = verb(calibrate, reports=False)
    own.add_argument("--out", required=True, metavar="FILE.json")
    own.add_argument("--name", default="", help="what the device is called (its processor)")
    own.add_argument("--threads", type=at_least_one, default=1, metavar="N", help="of PyTorch (1)")
    own.add_argument("--seconds", type=float, default=75.0, metavar="S", help="of timing (75)")
    own = verb(devices)
    own.add_argument("--import", dest="add", metavar="FILE.json", help="add the board that wrote this file")
    own.add_argument("--remove", metavar="NAME", help="forget a board that was imported")
