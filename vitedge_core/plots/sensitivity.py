"""A heat map of what hurts: a row for each block, a column for each thing done to it."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from vitedge_core.evidence import Quantity
from vitedge_core.experiments.sensitivity import Cell, Sensitivity
from vitedge_core.plots.frame import BLUE
from vitedge_core.plots.intervals import told
from vitedge_core.text.human import human

FIGURES = {"drop": "Accuracy", "loss": "Loss", "divergence": "KL divergence"}
# from pale to dark: even steps of brightness, so that it also reads in grey
SCALE = ["#EEF3F7", "#FBE3C2", "#F6B26B", "#E2711D", "#A63603", "#5C1A02"]
_ROOT = 0.5  # colours follow the root, or whole blocks would hide everything else


def harm(cell: Cell, figure: str) -> float:
    """How bad a cell is, 0 when it does no harm: points of accuracy lost, loss gained, divergence."""
    value: Quantity = getattr(cell, figure)
    return max(0.0, -value.value if figure == "drop" else value.value)


def heat_map(found: Sensitivity, figure: str, chosen: tuple[int, int] | None = None) -> go.Figure:
    """What each change in each place costs.

    Args:
        figure: A key of `FIGURES`.
        chosen: Numbers of the place and of the change to frame.
    """
    columns = [change.title for change in found.changes]
    cells = [[found.at(place, change) for change in found.changes] for place in range(len(found.places))]
    depth = [[None if cell is None else harm(cell, figure) ** _ROOT for cell in row] for row in cells]
    texts = [["" if cell is None else _short(getattr(cell, figure), figure) for cell in row] for row in cells]
    top = max((value for row in depth for value in row if value is not None), default=1.0) or 1.0
    picture = go.Figure()
    picture.add_heatmap(
        z=depth, x=columns, y=list(found.places), text=texts, texttemplate="%{text}", textfont={"size": 12},
        colorscale=SCALE, zmin=0, zmax=top, showscale=False, xgap=2, ygap=2, hoverinfo="skip",
    )  # fmt: skip
    picture.add_trace(_targets(found, figure))
    if chosen is not None:
        place, change = chosen
        picture.add_shape(type="rect", x0=change - 0.5, x1=change + 0.5, y0=place - 0.5, y1=place + 0.5,
                          line={"color": BLUE, "width": 3})  # fmt: skip
    picture.update_xaxes(side="top", type="category", fixedrange=True, showgrid=False, automargin=True)
    picture.update_yaxes(autorange="reversed", type="category", fixedrange=True, showgrid=False, automargin=True)
    return picture.update_layout(
        height=70 + 42 * max(len(found.places), 2), margin={"l": 4, "r": 4, "t": 30, "b": 4}, showlegend=False,
        clickmode="event+select", dragmode=False, plot_bgcolor="rgba(0,0,0,0)", uirevision="keep",
    )  # fmt: skip


def heat_rows(found: Sensitivity) -> list[dict[str, Any]]:
    """The table twin: every trial with all three figures, the worst loss first."""
    return [
        {
            found.kind: found.places[cell.place], "change": cell.change.title,
            "accuracy": told(cell.drop, signed=True), "loss": told(cell.loss, signed=True),
            "KL divergence": told(cell.divergence),
        }
        for cell in sorted(found.cells, key=lambda cell: -cell.loss.value)
    ]  # fmt: skip


def _targets(found: Sensitivity, figure: str) -> go.Scatter:
    """Invisible marks on the cells, to hover and to click."""
    numbers = {change: number for number, change in enumerate(found.changes)}
    return go.Scatter(
        x=[cell.change.title for cell in found.cells], y=[found.places[cell.place] for cell in found.cells],
        mode="markers", marker={"size": 34, "opacity": 0, "symbol": "square"},
        customdata=[[cell.place, numbers[cell.change]] for cell in found.cells],
        text=[
            f"{found.places[cell.place]}, {cell.change.title}<br>{FIGURES[figure]}: "
            f"{told(getattr(cell, figure), signed=figure != 'divergence')}"
            for cell in found.cells
        ],
        hovertemplate="%{text}<extra></extra>", selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )  # fmt: skip


def _short(value: Quantity, figure: str) -> str:
    """A number for a small cell; a change that chance explains is about none."""
    if figure != "divergence" and value.low is not None and value.high is not None and value.low <= 0 <= value.high:
        return "≈ 0"
    if figure == "drop":
        return human(value, signed=True).removesuffix(" points")
    return f"{value.value:.{1 if abs(value.value) >= 1 else 2}f}"
