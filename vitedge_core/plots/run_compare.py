"""One figure of a few runs as small bars with their intervals, a letter for each run."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from vitedge_core.evidence import Quantity
from vitedge_core.plots.frame import AFTER, BEFORE, CLEAR, GREY, frame
from vitedge_core.plots.intervals import bars

LETTERS = "ABCDEF"
_BAR, _ROOM = 26, 44  # pixels of a bar, and of the title


def run_bars(
    title: str, values: Sequence[Quantity | None], told: Sequence[str], times: float = 1.0, *, share: bool = False
) -> go.Figure:
    """Horizontal bars, the first run on top and in the colour of a baseline.

    Args:
        title: Of the figure.
        values: One for each run, None where there is none.
        told: The same in words, beside the bars.
        times: What values are multiplied by, for operations as FLOPs.
        share: The axis goes from 0 to 1.
    """
    letters = list(LETTERS[: len(values)])
    scaled = [None if value is None else value.value * times for value in values]
    ends = bars(values)
    for side in ("array", "arrayminus"):
        ends[side] = [times * length for length in ends[side]]
    figure = go.Figure(
        go.Bar(
            y=letters, x=scaled, orientation="h", error_x={**ends, "color": GREY}, hovertext=list(told),
            hovertemplate="%{y}: %{hovertext}<extra></extra>", marker={"color": [BEFORE, *[AFTER] * (len(values) - 1)]},
        )
    )  # fmt: skip
    highest = max(_top(value) for value in values) * times or 1.0
    # the words stand in a column of their own, where no error bar crosses them
    figure.add_scatter(
        y=letters, x=[1.04 * (1.0 if share else highest)] * len(letters), mode="text", text=list(told),
        textposition="middle right", hoverinfo="skip", cliponaxis=False,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", fixedrange=True, type="category")
    figure.update_xaxes(
        range=[0, 1.5 * (1.0 if share else highest)], showticklabels=False, showgrid=False, zeroline=False,
        fixedrange=True, linecolor=CLEAR,
    )  # fmt: skip
    height = _ROOM + _BAR * len(values)
    return figure.update_layout(
        frame(height, 34, showlegend=False, bargap=0.3, title={"text": title, "font": {"size": 14}, "x": 0, "y": 0.96})
    )


def _top(value: Quantity | None) -> float:
    if value is None:
        return 0.0
    return value.value if value.high is None else value.high
