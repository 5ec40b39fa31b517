"""Three objectives of measured recipes in space, to be turned by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from vitedge_core.plots.frame import CLEAR, frame
from vitedge_core.plots.pareto import COLOURS, Axis, Mark

SHAPES = ("circle", "square", "diamond", "cross", "x")  # what Plotly can draw in space


def pareto_space(marks: Sequence[Mark], axes: tuple[Axis, Axis, Axis], height: int = 620) -> go.Figure:
    """The marks in space; those on the front are large and joined to the floor by a line, so that depth can be read.

    Args:
        marks: With a third objective each.
        axes: To the right, to the back, upwards.
        height: In pixels.
    """
    figure = go.Figure()
    floor = min((mark.third[0] for mark in marks if mark.third), default=0.0)
    for number, group in enumerate(dict.fromkeys(mark.group for mark in marks)):
        for on_front in (False, True):
            own = [mark for mark in marks if mark.group == group and mark.on_front == on_front]
            if own:
                figure.add_trace(_cloud(own, number))
    stems = [mark for mark in marks if mark.on_front and mark.third]
    figure.add_scatter3d(
        x=_joined([(mark.cost[0], mark.cost[0]) for mark in stems]),
        y=_joined([(mark.gain[0], mark.gain[0]) for mark in stems]),
        z=_joined([(floor, mark.third[0]) for mark in stems if mark.third]),
        mode="lines", line={"color": "rgba(126,140,153,0.6)", "width": 2}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    across, back, up = (_axis(axis) for axis in axes)
    return figure.update_layout(frame(height, 40, scene={
        "xaxis": across, "yaxis": back, "zaxis": up, "camera": {"eye": {"x": -1.6, "y": -1.6, "z": 0.7}},
    }))  # fmt: skip


def _cloud(marks: Sequence[Mark], number: int) -> go.Scatter3d:
    on_front = marks[0].on_front
    return go.Scatter3d(
        x=[mark.cost[0] for mark in marks], y=[mark.gain[0] for mark in marks],
        z=[mark.third[0] if mark.third else None for mark in marks], mode="markers",
        name=marks[0].group if on_front else f"{marks[0].group}, not on the front",
        marker={"color": COLOURS[number % len(COLOURS)], "symbol": SHAPES[number % len(SHAPES)],
                "size": 7 if on_front else 4, "opacity": 1.0 if on_front else 0.7},
        text=[mark.text for mark in marks], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _joined(pairs: Sequence[tuple[float, float]]) -> list[float | None]:
    """Ends of lines, with a gap after each."""
    return [value for low, high in pairs for value in (low, high, None)]


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "title": {"text": axis.title}, "tickformat": axis.format, "ticksuffix": axis.suffix, "backgroundcolor": CLEAR,
        "gridcolor": "rgba(126,140,153,0.4)", "zeroline": False,
    }  # fmt: skip
