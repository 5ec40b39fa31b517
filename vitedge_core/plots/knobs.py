"""Knobs of recipes beside what came of them: parallel coordinates to brush, and how much each knob explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from vitedge_core.evidence import Quantity
from vitedge_core.plots.frame import BLUE, CLEAR, GREY, LIGHT_BLUE, ORANGE, frame
from vitedge_core.plots.intervals import bars, told

SCALE = [LIGHT_BLUE, GREY, ORANGE]  # stands out from light and dark, and is told apart by every kind of colour vision


@dataclass(frozen=True, slots=True)
class Line:
    """An axis of parallel coordinates: a name and a value for each recipe; words are put in order beside numbers.

    words: whether the values are names rather than numbers. format: how numbers are written.
    """

    name: str
    values: tuple[float | str, ...]
    words: bool = False
    format: str = "~r"


def parallel(lines: Sequence[Line], colour: Sequence[float], title: str, height: int = 460) -> go.Figure:
    """A line for each recipe through its knobs and its objectives; dragging along an axis keeps those that cross there.

    Args:
        lines: The axes from left to right, all with as many values.
        colour: A share of 1 for each recipe.
        title: Of the colour.
        height: In pixels.
    """
    figure = go.Figure(go.Parcoords(
        dimensions=[_dimension(line) for line in lines],
        line={"color": list(colour), "colorscale": SCALE, "showscale": True,
              "colorbar": {"title": {"text": title, "side": "right"}, "tickformat": ".0%", "thickness": 12}},
        unselected={"line": {"color": GREY, "opacity": 0.08}}, labelangle=-12, labelside="top",
        labelfont={"size": 13}, tickfont={"size": 12},
        rangefont={"color": CLEAR},  # the ends in six digits, beside the rounded ticks
    ))  # fmt: skip
    return figure.update_layout(frame(height, 90, margin={"l": 60, "r": 30, "t": 90, "b": 20}))


def _dimension(line: Line) -> dict[str, Any]:
    if not line.words:
        return {"label": line.name, "values": list(line.values), "tickformat": line.format}
    words = sorted(set(line.values), key=str)
    places = {word: place for place, word in enumerate(words)}
    return {
        "label": line.name, "values": [places[value] for value in line.values],
        "tickvals": list(places.values()), "ticktext": [str(word) for word in words],
    }  # fmt: skip


def explained(shares: Sequence[tuple[str, Quantity]], height: int | None = None) -> go.Figure:
    """A bar for each knob: how much of the gain's differences it explains, with its range.

    Args:
        shares: Names and shares, the largest first.
        height: In pixels; by default as much as the bars need.
    """
    rows = list(reversed(shares))
    values = [share for _, share in rows]
    figure = go.Figure(go.Bar(
        x=[share.value for share in values], y=[name for name, _ in rows], orientation="h", marker={"color": BLUE},
        error_x={**bars(values), "color": GREY}, text=[told(share) for share in values], textposition="none",
        hovertemplate="%{y}: %{text}<extra></extra>",
    ))  # fmt: skip
    figure.update_xaxes(tickformat=".0%", range=[0, 1.02], title="explains of the differences", automargin=True)
    figure.update_yaxes(automargin=True)
    return figure.update_layout(frame(height or 90 + 44 * len(rows), 8))
