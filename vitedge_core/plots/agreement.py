"""Where two models disagree: flipped answers, calibration, and what every class lost."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from vitedge_core.evidence import Quantity
from vitedge_core.measure.agreement import Agreement, Calibration, ClassChange, Flips
from vitedge_core.plots.frame import AFTER, BEFORE, GREEN, RED, YELLOW, frame
from vitedge_core.plots.intervals import bars, told
from vitedge_core.text.human import human

LOST, GAINED, OTHER = RED, GREEN, YELLOW
SHOWN = 20  # classes of a chart; of more, those that changed most
KINDS = {
    "same": ("same answer", BEFORE), "newly_wrong": ("newly wrong", LOST), "newly_right": ("newly right", GAINED),
    "other_wrong": ("wrong in another way", OTHER),
}  # fmt: skip


def flips(found: Flips, height: int = 130) -> go.Figure:
    """All images as one bar: answers that stayed, and the three kinds that did not."""
    figure = go.Figure()
    for key, (title, colour) in KINDS.items():
        value: Quantity = getattr(found, key)
        figure.add_bar(
            name=title, y=[""], x=[value.value], orientation="h", marker={"color": colour},
            text=[human(value) if value.value > 0.04 else ""], textposition="inside", insidetextanchor="middle",
            hovertext=[f"{title}: {told(value)}"], hoverinfo="text", textangle=0,
        )  # fmt: skip
    figure.update_xaxes(range=[0, 1], tickformat=".0%", fixedrange=True)
    figure.update_yaxes(fixedrange=True, showticklabels=False)
    return figure.update_layout(frame(height, 36, barmode="stack")).update_layout(legend_traceorder="normal")


def flip_rows(found: Flips) -> list[dict[str, Any]]:
    """The table twin of `flips`."""
    return [
        {"answers": title, "images": round(getattr(found, key).value * found.n), "share": told(getattr(found, key))}
        for key, (title, _) in KINDS.items()
    ]


def reliability(before: Calibration, after: Calibration, height: int = 360) -> go.Figure:
    """How often answers of a confidence are right; on the diagonal a model knows how sure it may be."""
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="as sure as it is right", hoverinfo="skip",
                       line={"color": OTHER, "dash": "dash", "width": 1.5})  # fmt: skip
    for name, colour, shape, found in (("baseline", BEFORE, "circle", before), ("compressed", AFTER, "square", after)):
        rights = [one.accuracy for one in found.bins]
        figure.add_scatter(
            x=[one.confidence for one in found.bins], y=[right.value for right in rights], name=name,
            mode="lines+markers", line={"color": colour, "width": 2},
            marker={"symbol": shape, "color": colour, "size": _sizes(found)},
            error_y=bars(rights),
            text=[f"{human(one.accuracy)} of {one.n:,} answers right, {one.confidence:.0%} sure" for one in found.bins],
            hovertemplate="%{text}",
        )  # fmt: skip
    figure.update_xaxes(title="confidence", range=[0, 1.03], tickformat=".0%", fixedrange=True)
    figure.update_yaxes(title="right answers", range=[0, 1.03], tickformat=".0%", fixedrange=True)
    return figure.update_layout(frame(height, 40))


def reliability_rows(before: Calibration, after: Calibration) -> list[dict[str, Any]]:
    """The table twin of `reliability`."""
    return [
        {
            "model": name, "confidence": f"{one.low:.0%} to {one.high:.0%}", "answers": one.n,
            "mean confidence": f"{one.confidence:.1%}", "right": told(one.accuracy),
        }
        for name, found in (("baseline", before), ("compressed", after)) for one in found.bins
    ]  # fmt: skip


def classes(found: Agreement, height: int = 360) -> go.Figure:
    """Accuracy of every class before and after with intervals; the worst hit is named."""
    shown = shown_classes(found)
    names = [_named(one, found) for one in shown]
    figure = go.Figure()
    for name, colour, side in (("baseline", BEFORE, "before"), ("compressed", AFTER, "after")):
        values: list[Quantity] = [getattr(one, side) for one in shown]
        figure.add_bar(
            name=name, x=names, y=[value.value for value in values], marker={"color": colour},
            error_y=bars(values),
            hovertext=[told(value) for value in values], hoverinfo="text+name",
        )  # fmt: skip
    figure.update_xaxes(type="category", fixedrange=True, automargin=True)
    figure.update_yaxes(range=[0, 1.05], tickformat=".0%", fixedrange=True, title="right answers")
    return figure.update_layout(frame(height, 40, barmode="group", bargap=0.25))


def shown_classes(found: Agreement) -> tuple[ClassChange, ...]:
    """All classes in their order; of many, those that changed most, the worst first."""
    if len(found.classes) <= SHOWN:
        return found.classes
    return tuple(sorted(found.classes, key=lambda one: one.change.value)[:SHOWN])


def class_rows(found: Agreement) -> list[dict[str, Any]]:
    """The table twin of `classes`: all of them, the worst hit first."""
    return [
        {
            "class": one.name, "images": one.n, "baseline": told(one.before), "compressed": told(one.after),
            "change": told(one.change, signed=True),
            "more than chance": "yes" if one.clear else "no",
        }
        for one in sorted(found.classes, key=lambda one: one.change.value)
    ]  # fmt: skip


def _named(one: ClassChange, found: Agreement) -> str:
    name = one.name if len(one.name) <= 18 else one.name[:17] + "…"
    return f"{name}<br>▲ worst hit" if one is found.worst else name


def _sizes(found: Calibration) -> list[float]:
    """Of the marks: their area follows the number of answers."""
    most = max(one.n for one in found.bins)
    return [6 + 14 * math.sqrt(one.n / most) for one in found.bins]
