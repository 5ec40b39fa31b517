"""The figures of the Build page: what each step gives, and where the costs are, block by block.

Data and figure are apart: `falls` says what a waterfall shows, `waterfall` draws it. Colours come from the theme of
the page unless they carry meaning.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from vitedge_core.cost.report import Part
from vitedge_core.plots.frame import AFTER, BEFORE, GREEN, RED, frame

LESS, MORE, WHOLE = GREEN, RED, AFTER


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

    Bars and thin connecting lines, because plotly's own waterfall paints the baseline and the end in one colour.

    Args:
        texts: What stands on each bar: the baseline's value, each step's change, the final value.
        unit: Title of the axis.
    """
    end = steps[-1].after if steps else baseline
    floors = [0.0, *[min(step.before, step.after) for step in steps], 0.0]
    sizes = [baseline, *[abs(step.change) for step in steps], end]
    colours = [BEFORE, *[LESS if step.change <= 0 else MORE for step in steps], WHOLE]
    names = ["Baseline", *_apart([step.label for step in steps]), "Compressed"]
    bars = go.Bar(
        x=[_wrapped(name, max(9, 56 // len(names))) for name in names],
        y=sizes, base=floors, marker={"color": colours}, text=list(texts), textposition="outside", cliponaxis=False,
        hovertext=[f"{name}: {text}" for name, text in zip(names, texts, strict=True)], hoverinfo="text",
    )  # fmt: skip
    levels = [baseline, *[step.after for step in steps]]
    links = [
        {"type": "line", "x0": place + 0.4, "x1": place + 0.6, "y0": level, "y1": level,
         "line": {"width": 1, "color": BEFORE}}
        for place, level in enumerate(levels)
    ]  # fmt: skip
    level = {"type": "category", "automargin": True, "tickangle": 0}
    axis = {"title": {"text": unit}, "range": [0, (max(levels) or 1) * 1.15], "tickformat": "~s"}
    return go.Figure([bars], frame(height, xaxis=level, yaxis=axis, bargap=0.2, shapes=links, showlegend=False))


class Pair(NamedTuple):
    """A part of the network and what it costs before and after; 0 where it is not or not yet there."""

    label: str
    before: float
    after: float


def pairs(before: Sequence[Part], after: Sequence[Part], figure: str) -> tuple[Pair, ...]:
    """The parts in their order, with the named figure of each; parts that cost nothing in either are left out.

    Args:
        before: Of the baseline, `Cost.by_block` or `Cost.by_kind`.
        after: Of the compressed network.
        figure: "macs", "params" or "weight_bytes".
    """
    old = {part.label: getattr(part, figure) for part in before}
    new = {part.label: getattr(part, figure) for part in after}
    rows = (Pair(spoken(label), old.get(label, 0), new.get(label, 0)) for label in {**old, **new})
    return tuple(row for row in rows if row.before or row.after)


def spoken(path: str) -> str:
    """A module path as a label: "blocks.3" is "block 3", "layers.1.blocks.0" is "stage 1, block 0"."""
    names = {"blocks": "block", "layers": "stage", "stages": "stage", "patch_embed": "patches"}
    words = [names.get(word, word.replace("_", " ")) for word in path.split(".")]
    parts: list[str] = []
    for word in words:
        if word.isdigit() and parts:
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    return ", ".join(parts)


def block_bars(rows: Sequence[Pair], unit: str, height: int = 320) -> go.Figure:
    """One pair of bars for each part of the network: what it costs before, and beside it after."""
    names = [row.label for row in rows]
    told = "%{x}: %{y:.3s}<extra>%{fullData.name}</extra>"
    bars = [
        go.Bar(x=names, y=values, name=name, marker={"color": colour}, hovertemplate=told)
        for name, colour, values in (
            ("Baseline", BEFORE, [row.before for row in rows]),
            ("Compressed", WHOLE, [row.after for row in rows]),
        )
    ]
    axis = {"title": {"text": unit}, "tickformat": "~s", "rangemode": "tozero"}
    return go.Figure(
        bars,
        frame(
            height,
            xaxis={"type": "category", "automargin": True},
            yaxis=axis,
            barmode="group",
            bargap=0.25,
            bargroupgap=0.05,
        ),
    )


def _wrapped(label: str, width: int, lines: int = 3) -> str:
    """A label broken into short lines for an axis, cut where it is too long for them."""
    return "<br>".join(textwrap.wrap(label, width, max_lines=lines, placeholder="…", break_long_words=False))


def _apart(labels: Sequence[str]) -> list[str]:
    """Equal labels told apart by their number, because equal names would share a place on the axis."""
    return [label if list(labels).count(label) == 1 else f"{i + 1}. {label}" for i, label in enumerate(labels)]
