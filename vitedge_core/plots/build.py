"""The figures of the Build page: what each step gives, and where the costs are, block by block.

Data and figure are apart: `falls` says what a waterfall shows, `waterfall` draws it. Colours come from the theme of
the page unless they carry meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

LESS, MORE, WHOLE = "#009E73", "#D55E00", "#0072B2"  # Okabe and Ito: told apart by every kind of colour vision
BEFORE = "#9AA8B5"


class Fall(NamedTuple):
    """One bar of a waterfall: what stands before it, what it adds (negative: takes away), what stands after it."""

    label: str
    before: float
    change: float
    after: float


def falls(labels: Sequence[str], values: Sequence[float]) -> tuple[Fall, ...]:
    """The contribution of each step.

    Args:
        labels: One for each step.
        values: One more: the baseline's value, then the value after each step.
    """
    return tuple(
        Fall(label, before, after - before, after)
        for label, before, after in zip(labels, values[:-1], values[1:], strict=True)
    )


def waterfall(steps: Sequence[Fall], baseline: float, texts: Sequence[str], unit: str, height: int = 320) -> go.Figure:
    """From the baseline through every step to what is left.

    Args:
        texts: What stands on each bar: the baseline's value, each step's change, the final value.
        unit: Title of the axis.
    """
    names = ["Baseline", *_apart([step.label for step in steps]), "Compressed"]
    figure = go.Figure(
        go.Waterfall(
            x=names,
            y=[baseline, *[step.change for step in steps], 0],
            measure=["absolute", *["relative"] * len(steps), "total"],
            text=list(texts),
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x}: %{text}<extra></extra>",
            decreasing={"marker": {"color": LESS}},
            increasing={"marker": {"color": MORE}},
            totals={"marker": {"color": WHOLE}},
            connector={"line": {"width": 1, "color": "rgba(128,140,150,0.5)"}},
        )
    )
    top = max([baseline, *[step.after for step in steps], *[step.before for step in steps]], default=1) or 1
    figure.update_yaxes(title=unit, range=[0, top * 1.15], rangemode="tozero", tickformat="~s")
    figure.update_xaxes(tickangle=0, automargin=True)
    return _framed(figure, height)


def block_bars(
    names: Sequence[str], before: Sequence[float], after: Sequence[float], unit: str, height: int = 320
) -> go.Figure:
    """One pair of bars for each part of the network: what it costs before, and beside it after.

    Args:
        before: One value for each name.
        after: One for each name too, 0 where the part is gone.
    """
    figure = go.Figure(
        [
            go.Bar(x=list(names), y=list(before), name="Baseline", marker={"color": BEFORE, "line": {"width": 0}}),
            go.Bar(x=list(names), y=list(after), name="Compressed", marker={"color": WHOLE, "pattern": {"shape": ""}}),
        ]
    )
    figure.update_traces(hovertemplate="%{x}: %{y:.3s}<extra>%{fullData.name}</extra>")
    figure.update_layout(barmode="group", bargap=0.25, bargroupgap=0.05)
    figure.update_yaxes(title=unit, tickformat="~s", rangemode="tozero")
    figure.update_xaxes(type="category", automargin=True)
    return _framed(figure, height)


def _framed(figure: go.Figure, height: int) -> go.Figure:
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 24, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        showlegend=len(figure.data) > 1,
        uirevision="keep",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )


def _apart(labels: Sequence[str]) -> list[str]:
    """Equal labels told apart by their number, because equal names would share a place on the axis."""
    return [label if list(labels).count(label) == 1 else f"{i + 1}. {label}" for i, label in enumerate(labels)]
