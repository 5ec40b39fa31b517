"""A chart to keep: as a picture through Plotly's own button, as a page of its own, its runs as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.ui import state

if TYPE_CHECKING:
    import plotly.graph_objects as go

PICTURES = {"svg": "SVG, to scale", "png": "PNG"}


def camera(name: str) -> Mapping[str, Any]:
    """What makes Plotly show its button that saves the chart as a picture."""
    kind = state.widget(f"{name}-picture") or "svg"
    return {
        "displayModeBar": True, "displaylogo": False, "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": kind, "filename": f"vitedge-{name}", "scale": 1 if kind == "svg" else 2},
    }  # fmt: skip


def save(
    name: str, figure: go.Figure, title: str, note: str, table: tuple[str, Callable[[], str]] | None = None
) -> None:
    """The ways to keep a chart, behind one button.

    Args:
        name: Of the files, and of the widgets.
        figure: The chart.
        title: Stands above it on its page.
        note: What it shows and what it rests on.
        table: What a button is to say and what makes its CSV.
    """
    with st.popover("Keep this chart", icon=":material/save:", key=f"{name}-save"):
        st.segmented_control(
            "Picture", list(PICTURES), default="svg", required=True, format_func=PICTURES.__getitem__,
            key=f"{name}-picture", persist_state="session",
            help="The camera at the top right corner of the chart saves it in this format.",
        )  # fmt: skip
        _files(name, figure, title, note, table)


@st.fragment
def _files(
    name: str, figure: go.Figure, title: str, note: str, table: tuple[str, Callable[[], str]] | None
) -> None:  # fmt: skip
    from vitedge_core.plots.page import page

    st.download_button(
        "A page of its own (HTML)", lambda: page(figure, title, note), f"vitedge-{name}.html", "text/html",
        key=f"{name}-html", icon=":material/html:", on_click="ignore",
        help="About 5 MB: it holds all it needs and opens without network.",
    )  # fmt: skip
    if table is not None:
        st.download_button(
            table[0], table[1], f"vitedge-{name}.csv", "text/csv", key=f"{name}-csv", icon=":material/download:",
            on_click="ignore",
        )  # fmt: skip
