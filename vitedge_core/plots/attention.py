"""Maps of two models: each by itself, one wiped over the other, their difference, and all blocks at a glance.

Scales are shared by whatever stands side by side, or the eye would compare colours that mean different things.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from vitedge_core.plots import canvas
from vitedge_core.plots.canvas import Map, Pixels
from vitedge_core.plots.frame import BLUE

SHARE = (".1~%", "share of attention")
RELEVANCE = (".2~s", "relevance")
_WIPE = 40  # positions of the slider between two maps
_SIDE = 340  # pixels a side of the wiped map


def top_of(*maps: Map | None) -> float:
    """Upper end of a scale that all of these share."""
    return max((float(found.max()) for found in maps if found is not None), default=1.0) or 1.0


def panel(
    pixels: Pixels, found: Map | None, title: str, top: float, *, opacity: float = 0.65, patch: int | None = None,
    unit: tuple[str, str] = SHARE,
) -> go.Figure:  # fmt: skip
    """One map over the grey image; None leaves the image, faded. Marks in every patch can be clicked.

    Args:
        pixels: The image.
        found: [h, w].
        title: Whose map it is.
        top: Upper end of the colour scale, from `top_of` all maps beside it.
        opacity: Of the map, 0 to 1.
        patch: The one that looks, to frame.
        unit: Format and name of the values.
    """
    figure = canvas.titled(canvas.square(pixels, faded=found is None, height=372), title)
    if found is None:
        return figure
    form, name = unit
    figure.add_trace(
        canvas.heat(found, zmin=0, zmax=top, colorscale=canvas.SCALE, opacity=opacity, colorbar=canvas.bar(name, form))
    )
    figure.add_trace(canvas.marks(_grid(found), _said(found, form, name)))
    return canvas.framed(figure, _grid(found), patch)


def difference(
    pixels: Pixels, before: Map, after: Map, *, opacity: float = 0.75, patch: int | None = None,
    unit: tuple[str, str] = SHARE,
) -> go.Figure:  # fmt: skip
    """Compressed less baseline over the grey image: orange where it looks more, violet where less."""
    moved = after - before
    figure = canvas.titled(canvas.square(pixels, height=372), "difference")
    figure.add_trace(signed(moved, top_of(np.abs(moved)), opacity, ("+" + unit[0], "compressed less baseline")))
    figure.add_trace(canvas.marks(_grid(moved), _said(moved, "+" + unit[0], "more than the baseline")))
    return canvas.framed(figure, _grid(moved), patch)


def signed(found: Map, top: float, opacity: float, unit: tuple[str, str]) -> go.Heatmap:
    """A map of values around zero."""
    return canvas.heat(
        found, zmin=-top, zmax=top, colorscale=canvas.SIGNED, opacity=opacity, colorbar=canvas.bar(unit[1], unit[0])
    )


def wipe(
    pixels: Pixels, before: Map, after: Map, top: float, *, opacity: float = 0.65, unit: tuple[str, str] = SHARE
) -> go.Figure:
    """Both maps in one place: baseline left of the slider's edge, compressed right of it. It moves in the browser."""
    figure, address = go.Figure(), canvas.source(pixels, grey=True)
    for axis, found in (("", before), ("2", after)):
        figure.add_layout_image(canvas.placed(address, 0, 0, axis=axis))
        figure.add_trace(
            canvas.heat(found, coloraxis="coloraxis", opacity=opacity).update(xaxis=f"x{axis}", yaxis=f"y{axis}")
        )
    figure.update_layout(xaxis=dict(canvas.QUIET), yaxis={"range": [1, 0], **canvas.QUIET},
                         xaxis2={"anchor": "y2", **canvas.QUIET},
                         yaxis2={"range": [1, 0], "anchor": "x2", **canvas.QUIET})  # fmt: skip
    figure.update_layout(**_nested(_cut(0.5)))
    steps = [
        {"label": "", "method": "relayout", "args": [_cut(min(max(place / _WIPE, 0.004), 0.996))]}
        for place in range(_WIPE + 1)
    ]
    below = {**canvas.bar(unit[1], unit[0]), "y": -0.14}
    slider = {"active": _WIPE // 2, "steps": steps, "pad": {"t": 6, "l": 0, "r": 0}, "ticklen": 0, "x": 0, "len": 1,
              "currentvalue": {"visible": False}, "bgcolor": canvas.FRAME, "activebgcolor": BLUE}  # fmt: skip
    figure.update_layout(
        width=_SIDE, height=_SIDE + 126, margin={"l": 0, "r": 0, "t": 26, "b": 100}, sliders=[slider],
        coloraxis={"colorscale": canvas.SCALE, "cmin": 0, "cmax": top, "colorbar": below},
        plot_bgcolor="rgba(0,0,0,0)", annotations=[_corner("◀ baseline", 0), _corner("compressed ▶", 1)],
    )  # fmt: skip
    return figure


def _cut(edge: float) -> dict[str, Any]:
    """Where both axes lie when the edge is at this share of the width."""
    line = {"type": "line", "xref": "paper", "yref": "paper", "x0": edge, "x1": edge, "y0": 0, "y1": 1,
            "line": {"color": canvas.FRAME, "width": 3}}  # fmt: skip
    return {
        "xaxis.domain": [0, edge], "xaxis.range": [0, edge], "xaxis2.domain": [edge, 1], "xaxis2.range": [edge, 1],
        "shapes": [line],
    }  # fmt: skip


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    return {key.replace(".", "_"): value for key, value in flat.items()}


def _corner(text: str, x: int) -> dict[str, Any]:
    return {"text": text, "showarrow": False, "xref": "paper", "yref": "paper", "x": x, "y": 1.0,
            "xanchor": "right" if x else "left", "yanchor": "bottom", "font": {"size": 14}}  # fmt: skip


def strip(
    pixels: Pixels, rows: Sequence[tuple[str, Sequence[Map | None]]], labels: Sequence[str], chosen: int | None = None
) -> go.Figure:
    """All blocks at a glance: a column for each block, a row for each model, one colour scale for each column.

    Args:
        pixels: The image.
        rows: Name of a model and its maps, None where a block is gone.
        labels: Of the columns.
        chosen: The column to frame.
    """
    figure = go.Figure()
    picture, gap = canvas.source(pixels, grey=True, side=96), 0.08
    for down, (_, maps) in enumerate(rows):
        for across, found in enumerate(maps):
            x, y = across * (1 + gap), down * (1 + gap)
            figure.add_layout_image(canvas.placed(picture, x, y, opacity=1 if found is not None else 0.25))
            if found is not None:
                top = top_of(*[other[across] for _, other in rows])
                style = {"zmin": 0, "zmax": top, "colorscale": canvas.SCALE, "showscale": False, "opacity": 0.8}
                figure.add_trace(canvas.heat(_coarse(found), x, y, **style))
    centres = [across * (1 + gap) + 0.5 for across in range(len(labels))]
    heights = [down * (1 + gap) + 0.5 for down in range(len(rows))]
    figure.add_trace(_targets(centres, heights, labels, [name for name, _ in rows]))
    if chosen is not None:
        figure.add_shape(type="rect", x0=centres[chosen] - 0.54, x1=centres[chosen] + 0.54, y0=-0.04,
                         y1=heights[-1] + 0.54, line={"color": canvas.FRAME, "width": 3})  # fmt: skip
    ticks = {"showgrid": False, "zeroline": False, "fixedrange": True, "ticks": "", "constrain": "domain"}
    figure.update_xaxes(range=[-0.06, centres[-1] + 0.56], tickvals=centres, ticktext=list(labels), side="top", **ticks)
    figure.update_yaxes(
        range=[heights[-1] + 0.56, -0.06], tickvals=heights, ticktext=[name for name, _ in rows], scaleanchor="x",
        constraintoward="top", **ticks,
    )  # fmt: skip
    height = min(520, 60 + int(len(rows) * 1_150 / max(len(labels), 4)))
    figure.update_layout(height=height, margin={"l": 4, "r": 4, "t": 26, "b": 4}, plot_bgcolor="rgba(0,0,0,0)",
                         showlegend=False, clickmode="event+select", dragmode=False)  # fmt: skip
    return figure


def map_rows(maps: Sequence[tuple[str, Map | None]], *, percent: bool = True) -> list[dict[str, Any]]:
    """The table twin of the maps: every patch with its values, the most looked at first."""
    known = [(title, found) for title, found in maps if found is not None]
    if not known:
        return []
    height, width = known[0][1].shape
    form = ".2%" if percent else ".3g"
    patches = sorted(np.ndindex(height, width), key=lambda at: -max(float(found[at]) for _, found in known))
    return [
        {"row": row + 1, "column": column + 1, **{title: f"{found[row, column]:{form}}" for title, found in known}}
        for row, column in patches
    ]


def strip_rows(rows: Sequence[tuple[str, Sequence[Map | None]]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The table twin of `strip`: where each block looks most, and how much of its attention that is."""
    return [
        {"block": label, **{name: _peak(maps[number]) for name, maps in rows}} for number, label in enumerate(labels)
    ]


def _peak(found: Map | None) -> str:
    if found is None:
        return "removed"
    return f"{canvas.place(int(found.argmax()), found.shape[1])}: {found.max():.1%}"


def _coarse(found: Map) -> Map:
    """A small map of a fine grid, with the mean of four patches in each cell: it is some 60 pixels wide."""
    height, width = found.shape
    if height <= 28 or height % 2 or width % 2:
        return found
    return found.reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def _grid(found: Map) -> tuple[int, int]:
    return found.shape[0], found.shape[1]


def _said(found: Map, form: str, name: str) -> list[str]:
    """What a patch says when it is pointed at."""
    percent, sign = form.endswith("%"), "+" if form.startswith("+") else ""
    values = [f"{value:{sign}.2%}" if percent else f"{value:{sign}.3g}" for value in found.flat]
    return [
        f"{canvas.place(patch, found.shape[1])}: {value} {name}<br>click: what does this patch look at?"
        for patch, value in enumerate(values)
    ]


def _targets(
    centres: Sequence[float], heights: Sequence[float], labels: Sequence[str], names: Sequence[str]
) -> go.Scatter:
    """Invisible marks in the middle of every small map, to hover and to click."""
    return go.Scatter(
        x=[x for _ in heights for x in centres], y=[y for y in heights for _ in centres], mode="markers",
        marker={"size": 44, "opacity": 0, "symbol": "square"}, customdata=list(range(len(labels))) * len(heights),
        text=[f"block {label}, {name}: click to look closer" for name in names for label in labels],
        hovertemplate="%{text}<extra></extra>", selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )  # fmt: skip
