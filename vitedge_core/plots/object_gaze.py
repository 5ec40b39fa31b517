"""Does it still look at the object? Figures before and after, and what happens while the image goes and comes."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vitedge_core.evidence import Quantity
from vitedge_core.experiments.object_gaze import ObjectGaze, Pair
from vitedge_core.plots.frame import AFTER, BEFORE, RED, frame
from vitedge_core.plots.intervals import bars, told
from vitedge_core.text.human import human

CHANCE = RED


def looks(found: ObjectGaze, accuracy: Pair, height: int = 360) -> go.Figure:
    """Accuracy, pointing hits and attention on the object, baseline beside compressed, with intervals and chance."""
    pairs = _pairs(found, accuracy)
    figure = go.Figure()
    for name, colour, side in (("baseline", BEFORE, "before"), ("compressed", AFTER, "after")):
        values: list[Quantity] = [getattr(pair, side) for pair in pairs.values()]
        figure.add_bar(
            name=name, x=list(pairs), y=[value.value for value in values], marker={"color": colour},
            text=[human(value) for value in values], textposition="inside", insidetextanchor="start",
            error_y=bars(values),
            hovertext=[told(value) for value in values], hoverinfo="text+name",
        )  # fmt: skip
    for place in (1, 2):  # chance says nothing of the right answers
        figure.add_shape(
            type="line", x0=place - 0.4, x1=place + 0.4, y0=found.chance.value, y1=found.chance.value,
            line={"color": CHANCE, "width": 3}, name=f"chance: the object's area, {human(found.chance)}",
            showlegend=place == 1,
        )  # fmt: skip
    figure.update_xaxes(type="category", fixedrange=True, range=[-0.5, 2.5])
    figure.update_yaxes(range=[0, 1.05], tickformat=".0%", fixedrange=True)
    return figure.update_layout(frame(height, 36, barmode="group", bargap=0.3))


def look_rows(found: ObjectGaze, accuracy: Pair) -> list[dict[str, Any]]:
    """The table twin of `looks`, with the paired changes."""
    pairs = {**_pairs(found, accuracy), "hits above chance": found.margin, "deletion": found.deletion,
             "insertion": found.insertion}  # fmt: skip
    return [
        {
            "figure": name.replace("<br>", " "), "baseline": told(pair.before), "compressed": told(pair.after),
            "change": told(pair.change, signed=True), "images": pair.n,
        }
        for name, pair in pairs.items()
    ]  # fmt: skip


def curves(found: ObjectGaze, height: int = 330) -> go.Figure:
    """Confidence while patches are taken out, and while they are put back; dotted in a random order."""
    figure = make_subplots(1, 2, subplot_titles=["deletion", "insertion"], shared_yaxes=True, horizontal_spacing=0.06)
    shown = found.curves
    for column, (kind, chance) in enumerate(
        (("deletion", "random_deletion"), ("insertion", "random_insertion")), 1
    ):  # fmt: skip
        for side, (name, colour) in enumerate((("baseline", BEFORE), ("compressed", AFTER))):
            for key, dash, title in ((kind, "solid", name), (chance, "dot", f"{name}, random order")):
                figure.add_scatter(
                    x=list(shown.shares), y=list(getattr(shown, key)[side]), name=title, legendgroup=title,
                    showlegend=column == 1, mode="lines+markers" if dash == "solid" else "lines", row=1, col=column,
                    line={"color": colour, "dash": dash, "width": 2},
                    marker={"symbol": ("circle", "square")[side], "size": 7}, hovertemplate="%{y:.1%} at %{x:.0%}",
                )  # fmt: skip
    figure.update_xaxes(tickformat=".0%", fixedrange=True, title="of the patches")
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%", fixedrange=True)
    return figure.update_layout(frame(height, 64)).update_layout(legend_y=1.14)


def curve_rows(found: ObjectGaze) -> list[dict[str, Any]]:
    """The table twin of `curves`."""
    names = {"deletion": "deletion", "insertion": "insertion", "random_deletion": "deletion, random",
             "random_insertion": "insertion, random"}  # fmt: skip
    return [
        {
            "patches": f"{share:.0%}",
            **{
                f"{title}, {side}": f"{getattr(found.curves, key)[number][step]:.1%}"
                for key, title in names.items()
                for number, side in enumerate(("baseline", "compressed"))
            },
        }
        for step, share in enumerate(found.curves.shares)
    ]


def _pairs(found: ObjectGaze, accuracy: Pair) -> dict[str, Pair]:
    return {"right answers": accuracy, "points at<br>the object": found.hits, "attention on<br>the object": found.mass}
