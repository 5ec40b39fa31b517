"""What two models say of one image, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from vitedge_core.plots.frame import AFTER, BEFORE, RED

Shares = NDArray[np.floating[Any]]  # [K] probabilities
NEW = RED


def predictions(
    before: Shares, after: Shares, names: Sequence[str], truth: int | None = None,
    count: int = 5,
) -> go.Figure:  # fmt: skip
    """The classes that either model finds most likely, with both probabilities.

    The true class and the answer of each model are marked; an answer that flips has a colour of its own.

    Args:
        before: [K] probabilities.
        after: [K].
        names: Of the classes.
        truth: The true class, where it is known.
        count: How many classes.
    """
    shown = likeliest(before, after, count)[::-1]
    labels = [_marked(names[index], true=index == truth) for index in shown]
    flips = int(before.argmax()) != int(after.argmax())
    figure = go.Figure()
    for name, values, colour in (("compressed", after, AFTER), ("baseline", before, BEFORE)):
        best = int(values.argmax())
        new = flips and name == "compressed"
        mark = " ◀ new answer" if new else " ◀"
        figure.add_trace(
            go.Bar(
                name=name, y=labels, x=[float(values[index]) for index in shown], orientation="h",
                marker={"color": [NEW if new and index == best else colour for index in shown]},
                text=[f"{values[index]:.1%}" + (mark if index == best else "") for index in shown],
                textposition="outside", cliponaxis=False, hovertemplate="%{y}: %{x:.2%}<extra>" + name + "</extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(range=[0, 1.24], tickformat=".0%", fixedrange=True, tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(type="category", fixedrange=True)
    figure.update_layout(
        height=70 + 46 * len(shown), barmode="group", bargap=0.3, bargroupgap=0.06,
        margin={"l": 4, "r": 4, "t": 30, "b": 4},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "traceorder": "reversed"},
    )  # fmt: skip
    return figure


def likeliest(before: Shares, after: Shares, count: int = 5) -> list[int]:
    """The `count` classes that either model finds most likely, in falling order of the larger probability."""
    order = np.argsort(-np.maximum(before, after), kind="stable")
    return [int(index) for index in order[:count]]


def prediction_rows(
    before: Shares, after: Shares, names: Sequence[str], truth: int | None = None
) -> list[dict[str, Any]]:
    """The table twin of `predictions`."""
    return [
        {"class": names[index], "baseline": f"{before[index]:.2%}", "compressed": f"{after[index]:.2%}",
         "true class": "yes" if index == truth else ""}
        for index in likeliest(before, after)
    ]  # fmt: skip


def _marked(name: str, *, true: bool) -> str:
    shown = name if len(name) <= 24 else name[:23] + "…"
    return f"{shown} ✓" if true else shown
