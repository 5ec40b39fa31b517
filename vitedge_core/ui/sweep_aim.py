"""Choose what a sweep is after: what is traded, for which device, and what every recipe must keep to."""

from __future__ import annotations

import streamlit as st

from vitedge_core.experiments.goal import (
    DEVICE_JOULES,
    DEVICE_SECONDS,
    KEPT,
    LATENCY,
    LOST,
    MOST_OBJECTIVES,
    ON_DEVICE,
    Goal,
    Limit,
)
from vitedge_core.ui import cache

GAINS = {"accuracy": "Accuracy", KEPT: "Attention kept"}
COSTS = {
    "macs": "MACs", "weight_bytes": "File size", "params": "Parameters", "peak_memory_bytes": "Peak memory",
    LATENCY: "Latency, timed here", DEVICE_SECONDS: "Latency on a device, predicted",
    DEVICE_JOULES: "Energy on a device, predicted",
}  # fmt: skip


def aim() -> Goal:
    """The widgets, behind one button that says what is chosen."""
    st.session_state.setdefault("sweep-gain", "accuracy")
    st.session_state.setdefault("sweep-costs", ["macs"])
    costs = [COSTS[name].split(",")[0] for name in st.session_state["sweep-costs"]] or ["…"]
    label = f"{GAINS.get(st.session_state['sweep-gain'], 'Accuracy')} against {' and '.join(costs)}"
    with st.popover(label, icon=":material/flag:", help="What is traded, and what every recipe must keep to."):
        gain = st.segmented_control(
            "As much as possible of", list(GAINS), required=True, format_func=GAINS.__getitem__, key="sweep-gain"
        )
        costs = st.pills(
            f"for as little as possible of (up to {MOST_OBJECTIVES - 1})", list(COSTS), selection_mode="multi",
            format_func=COSTS.__getitem__, key="sweep-costs",
        )  # fmt: skip
        device = _device() if set(costs) & set(ON_DEVICE) else ""
        st.caption("Limits, if any: a recipe beyond one of them is skipped, most before any image is looked at.")
        return Goal((str(gain), *costs), _limits(), device)


def _device() -> str:
    names = sorted({target.device for target in cache.edge_latencies().targets})
    return str(st.selectbox("Device", names, key="sweep-device"))


def _limits() -> tuple[Limit, ...]:
    """Those that are filled in."""
    left, middle, right = st.columns(3)
    with left:
        points = st.number_input("Points lost, at most", 0.0, 100.0, None, 0.5, key="sweep-lost", placeholder="any")
    with middle:
        size = st.number_input("File in MB, at most", 0.001, None, None, 0.5, key="sweep-bytes", placeholder="any")
    with right:
        macs = st.number_input("Million MACs, at most", 0.001, None, None, 10.0, key="sweep-macs", placeholder="any")
    given = ((LOST, points, 0.01), ("weight_bytes", size, 1e6), ("macs", macs, 1e6))
    return tuple(Limit(figure, most=value * scale) for figure, value, scale in given if value is not None)
