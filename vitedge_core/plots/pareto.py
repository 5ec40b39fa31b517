"""Accuracy, or another gain, against cost: measured recipes with error bars, the front as a step line, the knee.

Model is told by colour and shape, the front by filled marks, so the picture works without colour too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from vitedge_core.plots.frame import GREY, LIGHT_BLUE, LIGHT_GREEN, OCHRE, ORANGE, PINK, YELLOW, frame

COLOURS = (LIGHT_BLUE, LIGHT_GREEN, PINK, ORANGE, OCHRE, GREY)
SHAPES = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagon")
FRONT, KNEE = GREY, YELLOW


@dataclass(frozen=True, slots=True)
class Mark:
    """A point as it is drawn: cost and gain with the ends of their intervals, and what a hover says.

    key comes back when the mark is clicked; group is the model; label stands beside the mark; here: the recipe that the
    pages talk about now.
    """

    key: str
    group: str
    cost: tuple[float, float, float]
    gain: tuple[float, float, float]
    text: str
    on_front: bool = False
    knee: bool = False
    here: bool = False
    label: str = ""


def pareto(
    marks: Sequence[Mark], title: str, suffix: str = "", height: int = 520, gain: str = "Accuracy"
) -> go.Figure:  # fmt: skip
    """Cost to the right, what is gained upwards: better is left and up.

    Args:
        marks: In order of cost.
        title: Of the cost axis.
        suffix: Unit after the metric prefix on that axis, such as "B" or "s".
        height: In pixels.
        gain: Title of the axis upwards, which shows shares.
    """
    figure = go.Figure()
    groups = list(dict.fromkeys(mark.group for mark in marks))
    line = [mark for mark in marks if mark.on_front]
    figure.add_scatter(
        x=[mark.cost[0] for mark in line], y=[mark.gain[0] for mark in line], mode="lines", name="Pareto front",
        line={"shape": "hv", "color": FRONT, "width": 2, "dash": "dot"}, hoverinfo="skip",
    )  # fmt: skip
    for number, group in enumerate(groups):
        own = [mark for mark in marks if mark.group == group]
        _scatter(figure, [mark for mark in own if not mark.on_front], number, on_front=False)
        _scatter(figure, [mark for mark in own if mark.on_front], number, on_front=True)
    _ring(figure, [mark for mark in marks if mark.knee], "Knee", KNEE, "star")
    _ring(figure, [mark for mark in marks if mark.here], "Your recipe", ORANGE, "circle")
    for mark in marks:
        if mark.label:
            figure.add_annotation(
                x=mark.cost[0], y=mark.gain[2], text=mark.label, showarrow=False, yshift=10, font={"size": 11},
                xanchor="right", opacity=0.7,
            )  # fmt: skip
    figure.update_yaxes(title=gain, tickformat=".0%", automargin=True, zeroline=False)
    figure.update_xaxes(title=title, tickformat="~s", ticksuffix=suffix, automargin=True, zeroline=False)
    return figure.update_layout(frame(height, 40, hovermode="closest", clickmode="event+select"))


def _scatter(figure: go.Figure, marks: Sequence[Mark], number: int, *, on_front: bool) -> None:
    """The marks of one model that are on the front, or those that are not."""
    if not marks:
        return
    colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
    look = {"size": 11, "symbol": shape} if on_front else {"size": 8, "symbol": f"{shape}-open", "opacity": 0.6}
    faint = _transparent(colour, 0.7 if on_front else 0.3)
    figure.add_scatter(
        x=[mark.cost[0] for mark in marks], y=[mark.gain[0] for mark in marks], mode="markers",
        name=marks[0].group if on_front else f"{marks[0].group}, not on the front",
        marker={"color": colour, **look}, error_y=_bars([mark.gain for mark in marks], faint),
        error_x=_bars([mark.cost for mark in marks], faint), customdata=[[mark.key] for mark in marks],
        text=[mark.text for mark in marks], hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": look.get("opacity", 1)}},
    )  # fmt: skip


def _ring(figure: go.Figure, marks: Sequence[Mark], name: str, colour: str, shape: str) -> None:
    """A larger outline around a few marks, which leaves hovering and clicking to them."""
    if marks:
        figure.add_scatter(
            x=[mark.cost[0] for mark in marks], y=[mark.gain[0] for mark in marks], mode="markers", name=name,
            marker={"symbol": f"{shape}-open", "size": 24, "color": colour, "line": {"width": 2.5}}, hoverinfo="skip",
        )  # fmt: skip


def _bars(values: Sequence[tuple[float, float, float]], colour: str) -> dict[str, object]:
    """Error bars from values with their low and high ends."""
    return {
        "type": "data", "array": [high - value for value, _, high in values], "color": colour, "thickness": 1.2,
        "arrayminus": [value - low for value, low, _ in values], "symmetric": False, "width": 3,
    }  # fmt: skip


def _transparent(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
