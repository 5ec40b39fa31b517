"""The figures of the Costs page: where costs are, what sizes mean, what is in memory when, how costs grow.

Series are told by colour and by shape, dash or pattern, so that the pictures work without colour too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from vitedge_core.cost.memory import Moment
from vitedge_core.plots.build import Pair
from vitedge_core.plots.frame import AFTER, BEFORE, GREY, LIGHT_BLUE, LIGHT_GREEN, ORANGE, PINK, frame
from vitedge_core.plots.pareto import COLOURS, SHAPES

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
# what is in memory, from the bottom: name, colour, pattern
LAYERS = (
    ("weights", GREY, "/"),
    ("held for later", PINK, "x"),
    ("read", LIGHT_BLUE, ""),
    ("written", LIGHT_GREEN, "\\"),
    ("workspace", ORANGE, "."),
)


class Bar(NamedTuple):
    """A size: its name, its bytes, what stands at it, and whether it is only theoretical."""

    label: str
    value: float
    text: str
    theoretical: bool = False


def part_bars(rows: Sequence[Pair], unit: str) -> go.Figure:
    """One pair of bars for each part, from above: what it costs before, and below it after."""
    names = [row.label for row in rows]
    told = "%{y}: %{x:.3s}<extra>%{fullData.name}</extra>"
    bars = [
        go.Bar(
            y=names, x=values, name=name, orientation="h", marker={"color": colour, "pattern": {"shape": pattern}},
            hovertemplate=told,
        )
        for name, colour, pattern, values in (
            ("Baseline", BEFORE, "/", [row.before for row in rows]),
            ("Compressed", AFTER, "", [row.after for row in rows]),
        )
    ]  # fmt: skip
    return go.Figure(bars, frame(
        90 + 34 * len(rows), barmode="group", bargap=0.28, bargroupgap=0.04,
        xaxis={"title": {"text": unit}, "tickformat": "~s", "rangemode": "tozero"},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True},
    ))  # fmt: skip


def size_bars(sizes: Sequence[Bar], reference: float) -> go.Figure:
    """What the weights take in each form; a line marks the baseline's file, theoretical forms are hatched."""
    bars = go.Bar(
        y=[bar.label for bar in sizes], x=[bar.value for bar in sizes], orientation="h",
        text=[bar.text for bar in sizes], textposition="outside", cliponaxis=False,
        marker={
            "color": [PINK if bar.theoretical else AFTER for bar in sizes],
            "pattern": {"shape": ["/" if bar.theoretical else "" for bar in sizes]},
        },
        hovertemplate="%{y}: %{text}<extra></extra>",
    )  # fmt: skip
    most = max([reference, *(bar.value for bar in sizes)], default=1)
    figure = go.Figure([bars], frame(
        90 + 46 * len(sizes), bargap=0.35, showlegend=False,
        xaxis={"title": {"text": "byte"}, "tickformat": "~s", "range": [0, most * 1.22]},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True},
    ))  # fmt: skip
    figure.add_vline(
        x=reference,
        line={"color": BEFORE, "dash": "dash", "width": 2},
        annotation_text="baseline's file",
        annotation_position="top left",
        annotation_font_size=11,
    )
    return figure


def memory_timeline(weights: float, moments: Sequence[Moment], baseline: Sequence[float]) -> go.Figure:
    """What is in memory at each operation, one upon the other; a dashed line is the baseline's total.

    Args:
        weights: Bytes that are always there.
        moments: Of the compressed model, in order.
        baseline: Bytes of everything at each operation of the uncompressed model.
    """
    places = list(range(len(moments)))
    values = ([weights] * len(moments), *([getattr(m, name) for m in moments] for name in _PARTS))
    paths = [moment.path for moment in moments]
    figure = go.Figure(layout=frame(
        420, hovermode="x unified", yaxis={"title": {"text": "byte"}, "tickformat": "~s", "rangemode": "tozero"},
        xaxis={"title": {"text": "operation, in the order of the network"}, "showgrid": False},
    ))  # fmt: skip
    for (name, colour, pattern), heights in zip(LAYERS, values, strict=True):
        figure.add_scatter(
            x=places, y=heights, name=name, mode="lines", stackgroup="memory", line={"width": 0.5, "color": colour,
            "shape": "hvh"}, fillcolor=colour, fillpattern={"shape": pattern, "size": 5, "solidity": 0.25},
            customdata=paths, hovertemplate="%{y:.4s}B",
        )  # fmt: skip
    figure.add_scatter(
        x=[number * max(1, len(moments) - 1) / max(1, len(baseline) - 1) for number in range(len(baseline))],
        y=list(baseline), name="baseline, everything", mode="lines", hoverinfo="skip",
        line={"color": BEFORE, "dash": "dash", "width": 2, "shape": "hvh"},
    )  # fmt: skip
    _mark_peak(figure, weights, moments)
    return figure


_PARTS = ("held", "reads", "writes", "scratch")


def _mark_peak(figure: go.Figure, weights: float, moments: Sequence[Moment]) -> None:
    """An arrow at the operation with the most."""
    if not moments:
        return
    place = max(range(len(moments)), key=lambda number: moments[number].total)
    early = place < len(moments) / 2
    figure.add_annotation(
        x=place, y=weights + moments[place].total, text=f"peak: {moments[place].path}", showarrow=True, arrowhead=2,
        arrowcolor=BEFORE, ax=40 if early else -40, ay=-34, xanchor="left" if early else "right",
    )  # fmt: skip


class Curve(NamedTuple):
    """A line of costs against the side of the image; text says what a hover shows at each point."""

    name: str
    sides: Sequence[int]
    values: Sequence[float]
    text: Sequence[str]


def growth_curves(curves: Sequence[Curve], title: str) -> go.Figure:
    """Lines on two logarithmic axes, where a power of N is a straight line.

    Args:
        curves: At least one point each; zeros are left out.
        title: Of the vertical axis.
    """
    figure = go.Figure()
    sides = sorted({side for curve in curves for side in curve.sides})
    for number, curve in enumerate(curves):
        seen = [point for point in zip(curve.sides, curve.values, curve.text, strict=True) if point[1] > 0]
        figure.add_scatter(
            x=[point[0] for point in seen], y=[point[1] for point in seen], text=[point[2] for point in seen],
            name=curve.name, mode="lines+markers",
            hovertemplate="%{x} pixels: %{text}<extra>" + curve.name + "</extra>",
            line={"color": COLOURS[number % len(COLOURS)], "width": 2.5, "dash": DASHES[number % len(DASHES)]},
            marker={"symbol": SHAPES[number % len(SHAPES)], "size": 9},
        )  # fmt: skip
    ticks = {
        "type": "log",
        "tickvals": sides,
        "ticktext": [str(side) for side in sides],
        "title": {"text": "pixels a side"},
    }
    figure.update_layout(frame(420, xaxis=ticks, yaxis={"type": "log", "title": {"text": title}, "tickformat": "~s"}))
    return figure
