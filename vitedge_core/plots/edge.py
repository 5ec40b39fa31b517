"""Latencies on edge devices: predicted against published, and baseline beside compressed with a budget line.

Marks differ in colour and shape together, so the pictures work without colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from vitedge_core.plots.frame import GREY, LIGHT_BLUE, ORANGE, frame


@dataclass(frozen=True, slots=True)
class Seen:
    """A measured latency and what was predicted of it, in seconds with its interval; own: it was measured here."""

    name: str
    published: float
    predicted: tuple[float, float, float]
    own: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A device with the recipe's predicted seconds and their interval, and the baseline's seconds where known.

    label: "<br>" breaks it into lines.
    """

    label: str
    after: tuple[float, float, float]
    before: float | None


def agreement(rows: Sequence[Seen], factor: float, tell: Callable[[float], str], height: int = 420) -> go.Figure:
    """Predicted upwards against published to the right, both logarithmic, around the line where they are equal.

    Args:
        rows: At least one.
        factor: The band reaches from the line divided by it to the line times it.
        tell: Seconds as text for the axes.
        height: In pixels.
    """
    ends = [end for row in rows for end in (row.published, *row.predicted)]
    low, high = min(ends) / 1.3, max(ends) * 1.3
    band = go.Scatter(
        x=[low, high, high, low], y=[low / factor, high / factor, high * factor, low * factor], fill="toself",
        mode="lines", line={"width": 0}, fillcolor="rgba(126,140,153,0.18)", name=f"within a factor of {factor:.2f}",
        hoverinfo="skip",
    )  # fmt: skip
    line = go.Scatter(x=[low, high], y=[low, high], mode="lines", name="predicted = measured",
                      line={"color": GREY, "dash": "dot", "width": 1.5}, hoverinfo="skip")  # fmt: skip
    marks = [
        _marks(name, [row for row in rows if row.own == own], colour, shape)
        for name, own, colour, shape in (
            ("published", False, LIGHT_BLUE, "circle"),
            ("measured here", True, ORANGE, "diamond"),
        )
    ]
    figure = go.Figure([band, line, *[mark for mark in marks if mark is not None]], frame(height, hovermode="closest"))
    figure.update_xaxes(title="Measured", **_seconds(low, high, tell))
    figure.update_yaxes(title="Predicted without this network", **_seconds(low / factor, high * factor, tell))
    return figure


def bars(rows: Sequence[Bar], tell: Callable[[float], str], budget: float | None = None) -> go.Figure:
    """A line for each device: the baseline as a grey outline, the recipe with its 80 % interval; a budget upright.

    Args:
        rows: From top to bottom.
        tell: Seconds as text for the axis.
        budget: Seconds.
    """
    names = _apart([row.label for row in rows])[::-1]
    shown = rows[::-1]
    before = [(name, row.before) for name, row in zip(names, shown, strict=True) if row.before is not None]
    figure = go.Figure(
        [
            go.Scatter(
                x=[value for _, value in before], y=[name for name, _ in before], mode="markers", name="Baseline",
                marker={"symbol": "circle-open", "color": GREY, "size": 11, "line": {"width": 2}},
                hovertemplate="%{y}: %{x:.3s}s<extra>baseline</extra>",
            ),
            go.Scatter(
                x=[row.after[0] for row in shown], y=names, mode="markers", name="Compressed, 80 % interval",
                marker={"symbol": "diamond", "color": LIGHT_BLUE, "size": 10},
                error_x={
                    "type": "data", "symmetric": False, "array": [row.after[2] - row.after[0] for row in shown],
                    "arrayminus": [row.after[0] - row.after[1] for row in shown], "color": LIGHT_BLUE, "thickness": 1.5,
                },
                hovertemplate="%{y}: %{x:.3s}s<extra>compressed</extra>",
            ),
        ],
        frame(100 + 34 * len(rows), hovermode="closest"),
    )  # fmt: skip
    if budget is not None:
        figure.add_vline(x=budget, line={"color": ORANGE, "dash": "dash", "width": 2})
        figure.add_annotation(x=math.log10(budget), xref="x", y=1, yref="paper", yanchor="bottom", text="budget",
                              showarrow=False, font={"color": ORANGE})  # fmt: skip
    ends = [end for row in rows for end in (*row.after, row.before or row.after[0])] + [budget or rows[0].after[0]]
    figure.update_xaxes(title="Time of one inference", **_seconds(min(ends), max(ends), tell))
    figure.update_yaxes(type="category", automargin=True, tickfont={"size": 11})
    return figure


def _seconds(low: float, high: float, tell: Callable[[float], str]) -> dict[str, Any]:
    """A logarithmic axis of times with a tick at 1, 2 and 5 of every power of ten that is visible."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    if high / low > 500:
        ticks = ticks[::3]
    return {"type": "log", "tickvals": ticks, "ticktext": [*map(tell, ticks)], "automargin": True, "zeroline": False}


def _marks(name: str, rows: Sequence[Seen], colour: str, shape: str) -> go.Scatter | None:
    if not rows:
        return None
    return go.Scatter(
        x=[row.published for row in rows], y=[row.predicted[0] for row in rows], mode="markers", name=name,
        marker={"color": colour, "symbol": shape, "size": 9}, text=[row.name for row in rows],
        error_y={
            "type": "data", "symmetric": False, "array": [row.predicted[2] - row.predicted[0] for row in rows],
            "arrayminus": [row.predicted[0] - row.predicted[1] for row in rows], "color": colour, "thickness": 1,
        },
        hovertemplate="<b>%{text}</b><br>measured %{x:.3s}s<br>predicted %{y:.3s}s<extra></extra>",
    )  # fmt: skip


def _apart(labels: Sequence[str]) -> list[str]:
    """Equal labels told apart, because equal names would share a line."""
    return [label if list(labels).count(label) == 1 else f"{label} ({i + 1})" for i, label in enumerate(labels)]
