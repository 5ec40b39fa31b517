"""How far two models drift apart, block by block; the first block that falls off is marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from vitedge_core.evidence import Quantity
from vitedge_core.explain.divergence import EXACT, FALLEN, Divergence, Layer
from vitedge_core.plots.frame import BLUE, GREY, RED, frame
from vitedge_core.plots.intervals import bars, told

BOTH, ALONE, FALL = BLUE, GREY, RED
TOP = 60.0  # dB: what is closer than that is drawn at this height, and its hover says the value


def divergence(found: Divergence, height: int = 380) -> go.Figure:
    """SQNR of every block's output: with all that went wrong before it, and when it alone is the compressed one."""
    labels = [_label(layer) for layer in found.layers]
    figure = go.Figure()
    if any(layer.alone for layer in found.layers):
        alone = _line(found.layers, [layer.alone for layer in found.layers], "this block alone", ALONE)
        figure.add_trace(alone.update(line_dash="dot", marker_symbol="diamond"))
    figure.add_trace(_line(found.layers, [layer.sqnr for layer in found.layers], "everything up to it", BOTH))
    figure.add_hline(
        y=FALLEN, line={"color": FALL, "width": 1.5, "dash": "dash"}, annotation_position="top left",
        annotation_text=f"falls off below {FALLEN:.0f} dB", annotation_font={"size": 12, "color": FALL},
    )  # fmt: skip
    if found.first is not None and found.first.sqnr is not None:
        figure.add_scatter(
            x=[_label(found.first)], y=[_height(found.first.sqnr)], mode="markers", name="first to fall off",
            marker={"symbol": "circle-open", "size": 22, "color": FALL, "line": {"width": 3}}, hoverinfo="skip",
        )  # fmt: skip
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=labels, fixedrange=True, automargin=True)
    figure.update_yaxes(title="SQNR in dB, higher is closer", fixedrange=True, automargin=True, rangemode="tozero")
    return figure.update_layout(frame(height, 40, hovermode="x unified"))


def divergence_rows(found: Divergence) -> list[dict[str, Any]]:
    """The table twin of `divergence`, with the cosine as well."""
    return [
        {
            found.kind: layer.name,
            "SQNR": "removed" if layer.removed else _told(layer.sqnr),
            "SQNR alone": _told(layer.alone),
            "cosine": _told(layer.cosine),
            "": "first to fall off" if layer is found.first else "fallen off" if layer.fallen else "",
        }
        for layer in found.layers
    ]


def _line(layers: Sequence[Layer], values: Sequence[Quantity | None], name: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[_label(layer) for layer in layers], y=[_height(value) if value else None for value in values], name=name,
        mode="lines+markers", connectgaps=True, line={"color": colour, "width": 2}, marker={"size": 9, "color": colour},
        error_y=bars(values, TOP), text=[_told(value) for value in values], hovertemplate="%{text}",
    )  # fmt: skip


def _height(value: Quantity) -> float:
    return min(value.value, TOP)


def _label(layer: Layer) -> str:
    return f"{layer.name}<br>removed" if layer.removed else layer.name


def _told(value: Quantity | None) -> str:
    if value is None:
        return ""
    if value.unit == "dB" and value.value >= EXACT:
        return "identical"
    return told(value)
