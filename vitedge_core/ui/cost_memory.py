"""What is in memory while one inference runs, and where the peak is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.plots.costs import memory_timeline
from vitedge_core.ui import quantity, units

if TYPE_CHECKING:
    from vitedge_core.compress import Planned
    from vitedge_core.cost.memory import Moment

MEANING = """
**Weights** are there all the time. **Held** is what a later operation still needs, the shortcut around a block for
example; **read** and **written** are what the operation itself works on. **Workspace** is what the kernel of a
convolution copies into a layout of its own while it runs, or unfolds into columns, as PyTorch does on a CPU with one
thread.

Fewer bits shrink the weights, not the activations, which stay float32 here; fewer tokens, heads and neurons do.
"""


def timeline(planned: Planned, batch: int) -> None:
    """The chart, the peak in words, and every operation as a table."""
    from vitedge_core.cost import memory

    before, after = planned.plans[0], planned.last
    weights, old_weights = memory.weights_in_memory(after), memory.weights_in_memory(before)
    moments = memory.timeline(after, batch)
    old = [old_weights + moment.total for moment in memory.timeline(before, batch)]
    peak = max(moments, key=lambda moment: moment.total)
    total = weights + peak.total
    said = (
        f"At its peak, in `{peak.path}`, **{_bytes(total)}** are in memory: {_bytes(weights)} of weights and "
        f"{_bytes(peak.total)} of activations. The baseline's peak is {_bytes(max(old))}."
    )
    st.markdown(said)
    quantity.chart(
        memory_timeline(weights, moments, old), [_row(moment, weights) for moment in moments], "costs-memory",
        said.replace("*", "").replace("`", ""),
    )  # fmt: skip
    st.caption(MEANING)


def _row(moment: Moment, weights: int) -> dict[str, str]:
    parts = {"held": moment.held, "read": moment.reads, "written": moment.writes, "workspace": moment.scratch}
    said = {name: _bytes(value) for name, value in parts.items()}
    return {"operation": moment.path, "everything": _bytes(weights + moment.total), **said}


def _bytes(value: float) -> str:
    return units.counted(value, "byte")
