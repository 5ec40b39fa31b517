"""Measured recipes over two or three objectives: with error bars, the front as a step line, the knee, a budget.

Groups (models, or sweeps) are told by colour and shape, the front by filled marks, so the picture works without colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from vitedge_core.plots.frame import BESIDE_CAMERA, GREY, LIGHT_BLUE, LIGHT_GREEN, OCHRE, ORANGE, PINK, YELLOW, frame

COLOURS = (LIGHT_BLUE, LIGHT_GREEN, PINK, ORANGE, OCHRE, GREY)
SHAPES = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagon")
FRONT, KNEE = GREY, YELLOW
MANY = 1_000  # marks of one kind that a browser draws as vectors; more are drawn by its graphics card
BARRED = 400  # dominated marks that have error bars; more would hide the marks
DIM = 0.25  # of their strength is left to marks beyond the budget
SMALL, LARGE = 7.0, 28.0  # pixels across of marks whose size tells a third objective


@dataclass(frozen=True, slots=True)
class Axis:
    """An objective as an axis. suffix: after the metric prefix, such as "B" or "s". higher: more is better.

    limit: the budget, drawn as a line; None without one.
    """

    title: str
    suffix: str = ""
    format: str = "~s"
    higher: bool = False
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A point as it is drawn: cost and gain with the ends of their intervals, and what a hover says.

    key comes back when the mark is clicked; group gives colour and shape; label stands beside the mark; here: the
    recipe that the pages talk about now; third: of a third objective; inside: within the budget.
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
    third: tuple[float, float, float] | None = None
    inside: bool = True


def pareto(marks: Sequence[Mark], across: Axis, up: Axis, *, third: bool = False, height: int = 520) -> go.Figure:
    """The marks over the first objective, upwards the second, and a third as their size.

    Args:
        marks: In order of the first objective.
        across: The first objective.
        up: The second.
        third: Whether the marks have a third one; a step line would then tell nothing, and is left out.
        height: In pixels.
    """
    figure = go.Figure()
    sizes = _sizes(marks) if third else {}
    if not third:
        line = sorted((mark.cost[0], mark.gain[0]) for mark in marks if mark.on_front)
        figure.add_scatter(
            x=[x for x, _ in line], y=[y for _, y in line], mode="lines", name="Pareto front", hoverinfo="skip",
            line={"shape": "vh" if across.higher else "hv", "color": FRONT, "width": 2, "dash": "dot"},
        )  # fmt: skip
    for number, group in enumerate(dict.fromkeys(mark.group for mark in marks)):
        own = [mark for mark in marks if mark.group == group]
        for on_front in (False, True):
            alike = [mark for mark in own if mark.on_front == on_front]
            inside = [mark for mark in alike if mark.inside]
            _scatter(figure, inside, number, sizes)
            _scatter(figure, [mark for mark in alike if not mark.inside], number, sizes, named=not inside)
    _ring(figure, [mark for mark in marks if mark.knee], "Knee", KNEE, "star")
    _ring(figure, [mark for mark in marks if mark.here], "Your recipe", ORANGE, "circle")
    _labels(figure, marks)
    _budget(figure, across, up)
    figure.update_yaxes(title=up.title, tickformat=up.format, ticksuffix=up.suffix, automargin=True, zeroline=False)
    figure.update_xaxes(
        title=across.title, tickformat=across.format, ticksuffix=across.suffix, automargin=True, zeroline=False
    )
    return figure.update_layout(frame(height, margin=BESIDE_CAMERA, hovermode="closest", clickmode="event+select"))


def _scatter(
    figure: go.Figure, marks: Sequence[Mark], number: int, sizes: dict[str, float], *, named: bool = True
) -> None:  # fmt: skip
    """Marks of one group that are alike: all or none on the front, all or none within the budget."""
    if not marks:
        return
    on_front = marks[0].on_front
    colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
    dim = 1.0 if marks[0].inside else DIM
    opacity = dim * (1.0 if on_front else 0.8)
    faint = _transparent(colour, dim * (0.7 if on_front else 0.3))
    draw = go.Scattergl if len(marks) > MANY else go.Scatter
    bars = {
        "error_y": _bars([mark.gain for mark in marks], faint), "error_x": _bars([mark.cost for mark in marks], faint),
    } if on_front or len(marks) <= BARRED else {}  # fmt: skip
    name = marks[0].group if on_front else f"{marks[0].group}, not on the front"
    figure.add_trace(draw(
        x=[mark.cost[0] for mark in marks], y=[mark.gain[0] for mark in marks], mode="markers", name=name,
        legendgroup=name, showlegend=named,
        marker={
            "color": colour, "symbol": shape if on_front else f"{shape}-open", "opacity": opacity,
            "size": [sizes[mark.key] for mark in marks] if sizes else 11 if on_front else 8,
        },
        customdata=[[mark.key] for mark in marks], text=[mark.text for mark in marks],
        hovertemplate="%{text}<extra></extra>", selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": opacity}}, **bars,
    ))  # fmt: skip


def _sizes(marks: Sequence[Mark]) -> dict[str, float]:
    """Pixels across by key: areas grow evenly from the least of the third objective to its most."""
    values = {mark.key: mark.third[0] for mark in marks if mark.third is not None}
    low, high = min(values.values(), default=0.0), max(values.values(), default=0.0)
    span = high - low or 1.0
    return {key: math.sqrt(SMALL**2 + (LARGE**2 - SMALL**2) * (value - low) / span) for key, value in values.items()}


def _budget(figure: go.Figure, across: Axis, up: Axis) -> None:
    """Lines at what may be spent and at what must be reached."""
    line = {"line_dash": "dash", "line_color": ORANGE, "line_width": 2, "annotation_font_color": ORANGE}
    if across.limit is not None:
        figure.add_vline(x=across.limit, annotation_text="budget", annotation_position="top right", **line)
    if up.limit is not None:
        figure.add_hline(y=up.limit, annotation_text="budget", annotation_position="bottom right", **line)


def _ring(figure: go.Figure, marks: Sequence[Mark], name: str, colour: str, shape: str) -> None:
    """A larger outline around a few marks, which leaves hovering and clicking to them."""
    if marks:
        figure.add_scatter(
            x=[mark.cost[0] for mark in marks], y=[mark.gain[0] for mark in marks], mode="markers", name=name,
            marker={"symbol": f"{shape}-open", "size": 24, "color": colour, "line": {"width": 2.5}}, hoverinfo="skip",
        )  # fmt: skip


def _labels(figure: go.Figure, drawn: Sequence[Mark]) -> None:
    """Words above a few marks, towards the middle and away from the axis; one trace, because Plotly checks all
    annotations anew for each that is added."""
    marks = [mark for mark in drawn if mark.label]
    if marks:
        middle = (min(mark.cost[0] for mark in drawn) + max(mark.cost[0] for mark in drawn)) / 2
        figure.add_scatter(
            x=[mark.cost[0] for mark in marks], y=[mark.gain[2] for mark in marks], mode="text", name="Labels",
            text=[mark.label for mark in marks],
            textposition=["top right" if mark.cost[0] < middle else "top left" for mark in marks],
            textfont={"size": 11, "color": GREY},
            cliponaxis=False, hoverinfo="skip", showlegend=False,
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
