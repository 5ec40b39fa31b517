"""A recipe on the boards that a person calibrated, as rows like those of the published devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitedge_core.cost.calibration import Calibration
from vitedge_core.cost.edge_report import OWN_RUNTIME
from vitedge_core.cost.own_devices import calibrations
from vitedge_core.cost.own_latency import predict
from vitedge_core.errors import VitEdgeError
from vitedge_core.plan import Plan


def board_rows(plan: Plan, devices: Sequence[str], batch: int = 1) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the boards among some devices, of all boards where none is named; and the names that are no board's."""
    boards = calibrations()
    chosen = [board for board in boards if not devices or board.name in devices]
    names = {board.name for board in boards}
    return [_row(board, plan, batch) for board in chosen], [name for name in devices if name not in names]


def _row(board: Calibration, plan: Plan, batch: int) -> dict[str, Any]:
    named = {
        "device": board.name, "runtime": OWN_RUNTIME, "precision": "fp32", "model": plan.model, "batch": batch,
    }  # fmt: skip
    try:
        latency = predict(board, plan, batch)
    except VitEdgeError as error:
        return {**named, "out_of_domain": str(error)}
    ends = {"latency_ms": latency.value, "low_ms": latency.low or 0.0, "high_ms": latency.high or 0.0}
    return {**named, **{name: float(f"{1e3 * end:.4g}") for name, end in ends.items()}, "source": latency.source}
