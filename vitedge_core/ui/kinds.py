"""Where the time of the current recipe goes: measured by kind of operation, beside this machine's roofline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.experiments.kinds import Spent, spent
from vitedge_core.plots.benchmark import kind_bars, kind_rows
from vitedge_core.text.human import human
from vitedge_core.ui import quantity, waiting
from vitedge_core.ui.units import counted

if TYPE_CHECKING:
    from vitedge_core.recipe import Recipe

_WHY = (
    "One image on one thread, with a clock at the door of every layer: a few seconds, and the machine's own peak once."
)


def section(recipe: Recipe) -> None:
    """The times by kind, or the button that measures them."""
    st.subheader("Where the time goes", anchor=False)
    found = waiting.result_of(
        ("kinds", recipe.digest), lambda report, cancelled: _measure(recipe, report, cancelled), "Watch the layers",
        _WHY,
    )  # fmt: skip
    if found is not None:
        _draw(found)


def _measure(recipe: Recipe, report: Any, cancelled: Any) -> Spent:
    return spent(recipe, report=report, cancelled=cancelled)


def _draw(found: Spent) -> None:
    times = found.times
    kind, most = max(times.seconds, key=lambda pair: pair[1].value)
    st.markdown(
        f"Most time goes to **{kind.value}**: {human(most)} of {human(times.watched)} {quantity.badge(most.evidence)}."
    )
    alt = f"Seconds by kind of operation, measured and under the roofline; the largest is {kind.value}."
    quantity.chart(kind_bars(found, lambda value: counted(value, "s")), kind_rows(found), "bench-kinds", alt)
    extra = max(0.0, times.watched.value - times.whole.value)
    st.caption(
        f"Watching itself takes {counted(extra, 's')}: a pass that nobody watches takes {human(times.whole)}. One "
        "thread's time on the processor, which other programs hardly lengthen."
    )
    if found.rounded:
        st.caption("Few bits are simulated in float32 here, which takes time that no real kernel would take.")
    if times.warning:
        st.caption(times.warning)
