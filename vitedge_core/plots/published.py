"""Published accuracies over what they cost, told apart by family in colour and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from vitedge_core.plots.frame import BESIDE_CAMERA, GREY, frame
from vitedge_core.plots.pareto import COLOURS, SHAPES, Axis


@dataclass(frozen=True, slots=True)
class Printed:
    """A published result as a mark. text: what a hover says. checked: it was read in its source; else drawn open."""

    family: str
    cost: float
    value: float
    text: str
    on_front: bool = False
    checked: bool = True


def published(
    marks: Sequence[Printed],
    families: Sequence[str],
    across: Axis,
    *,
    spread: bool,
    floor: float | None = None,
    height: int = 520,
) -> go.Figure:
    """The marks over their cost, with the front of them all as a step line.

    Args:
        marks: On one data set, their costs counted in one way.
        families: All there are, in order: a family keeps its colour and shape whatever is shown.
        across: The cost.
        spread: Whether costs span orders of magnitude and stand on a logarithmic axis.
        floor: Where the picture begins at first; None for the least value.
        height: In pixels.
    """
    figure = go.Figure()
    line = sorted((mark.cost, mark.value) for mark in marks if mark.on_front)
    figure.add_scatter(
        x=[x for x, _ in line], y=[y for _, y in line], mode="lines", name="Best published", hoverinfo="skip",
        line={"shape": "hv", "color": GREY, "width": 2, "dash": "dot"},
    )  # fmt: skip
    for number, family in enumerate(families):
        own = [mark for mark in marks if mark.family == family]
        if own:
            shape = (*SHAPES, "star")[number % (len(SHAPES) + 1)]
            figure.add_scatter(
                x=[mark.cost for mark in own], y=[mark.value for mark in own], mode="markers", name=family,
                marker={
                    "color": COLOURS[number % len(COLOURS)], "opacity": 0.8,
                    "symbol": [shape if mark.checked else f"{shape}-open" for mark in own],
                    "size": [11 if mark.on_front else 7 for mark in own],
                },
                text=[mark.text for mark in own], hovertemplate="%{text}<extra></extra>",
            )  # fmt: skip
    top = max((mark.value for mark in marks), default=1.0) + 0.02
    figure.update_yaxes(
        title="Top-1 accuracy", tickformat=".0%", automargin=True, zeroline=False,
        range=None if floor is None else [floor, top],
    )  # fmt: skip
    figure.update_xaxes(
        title=across.title, tickformat=across.format, ticksuffix=across.suffix, automargin=True, zeroline=False,
        type="log" if spread else "linear", dtick="D2" if spread else None,
    )  # fmt: skip
    return figure.update_layout(frame(height, margin=BESIDE_CAMERA, hovermode="closest"))
