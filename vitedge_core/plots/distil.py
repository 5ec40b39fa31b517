"""The learning curves of one student with and without a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from vitedge_core.evidence import wilson
from vitedge_core.experiments.lesson import ALONE, HELD_OUT, TAUGHT, Point

NAMES = {TAUGHT: "with the teacher", ALONE: "without"}
AXES = {"images": "images seen", "seconds": "seconds each has trained"}
_STYLE = {TAUGHT: ("#0072B2", "0,114,178", "circle", "solid"), ALONE: ("#D55E00", "213,94,0", "diamond", "dash")}


def curves(points: Sequence[Point], axis: str = "images", height: int = 380) -> go.Figure:
    """Held-out accuracy of both runs as they learn, with the 95 % Wilson interval of each point as a band.

    Args:
        points: Of both runs, in order.
        axis: A key of `AXES`: what runs from left to right. Per image the two are level; per second the teacher costs.
    """
    figure = go.Figure()
    for arm, name in NAMES.items():
        mine = [point for point in points if point.arm == arm]
        if mine:
            figure.add_traces(_run(arm, name, mine, axis))
    figure.update_xaxes(title=AXES[axis], rangemode="tozero")
    figure.update_yaxes(title="right on held-out images", tickformat=".0%", range=_range(points))
    figure.update_layout(
        height=height, margin={"l": 10, "r": 10, "t": 30, "b": 10}, hovermode="x unified", uirevision=axis,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
    )  # fmt: skip
    return figure


def table(points: Sequence[Point]) -> list[dict[str, Any]]:
    """The numbers behind the curves, a row for each moment."""
    rows: dict[int, dict[str, Any]] = {}
    for point in points:
        row = rows.setdefault(point.step, {"images seen": point.images})
        row[f"right, {NAMES[point.arm]}"] = f"{point.top1:.1%}"
        row[f"loss, {NAMES[point.arm]}"] = None if point.loss is None else round(point.loss, 3)
        row[f"seconds, {NAMES[point.arm]}"] = round(point.seconds, 1)
        row["difficulty of the images"] = f"{point.difficulty:.0%}"
    return list(rows.values())


def _run(arm: str, name: str, points: Sequence[Point], axis: str) -> list[go.Scatter]:
    colour, channels, symbol, dash = _STYLE[arm]
    along = [getattr(point, axis) for point in points]
    bounds = [_interval(point) for point in points]
    band = go.Scatter(
        x=[*along, *reversed(along)],
        y=[*(high for _, high in bounds), *(low for low, _ in reversed(bounds))],
        mode="lines", line={"width": 0}, fill="toself", fillcolor=f"rgba({channels},0.12)",
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    line = go.Scatter(
        x=along, y=[point.top1 for point in points], name=name, mode="lines+markers",
        line={"color": colour, "width": 2.5, "dash": dash}, marker={"symbol": symbol, "size": 7},
        hovertemplate="%{y:.1%}",
    )  # fmt: skip
    return [band, line]


def _interval(point: Point) -> tuple[float, float]:
    return wilson(round(point.top1 * HELD_OUT), HELD_OUT)


def _range(points: Sequence[Point]) -> list[float]:
    """From a little below the lowest point, so that runs that are close do not lie on each other."""
    lows = [_interval(point)[0] for point in points]
    highs = [_interval(point)[1] for point in points]
    return [max(0.0, min(lows, default=0.0) - 0.02), min(1.0, max(highs, default=1.0) + 0.02)]
