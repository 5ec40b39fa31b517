"""Heat maps of attention over the image, all blocks at a glance, and the patches that tokens put together.

Every map is a heat map over a grey copy of the image, so that colour always means attention. Scales are shared by
whatever stands side by side, or the eye would compare colours that mean different things.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image
from plotly.subplots import make_subplots

Pixels = NDArray[np.uint8]  # [side, side, 3]
Map = NDArray[np.floating[Any]]  # [h, w], shares of all attention

# Inferno: even steps of brightness, told apart by every kind of colour vision and in print. Its own first colour,
# #000004, is one that Streamlit's theme takes for a place to put a colour of its own.
SCALE = ["#03020A", "#1B0C41", "#4A0C6B", "#781C6D", "#A52C60", "#CF4446", "#ED6925", "#FB9B06", "#F7D13D", "#FCFFA4"]
FRAME = "#0072B2"
_SHARP = 384  # pixels a side that a small image is enlarged to, so that the browser does not blur it
_QUIET = {
    "showgrid": False,
    "zeroline": False,
    "showticklabels": False,
    "showline": False,
    "ticks": "",
    "fixedrange": True,
}


def side_by_side(
    pixels: Pixels, maps: Sequence[tuple[str, Map | None]], opacity: float = 0.65, height: int = 400
) -> go.Figure:
    """The image in colour, then its maps, on one colour scale.

    Args:
        maps: A title and a map each; None leaves the bare image.
        opacity: Of the maps, 0 to 1.
    """
    titles = ["image", *[name for name, _ in maps]]
    figure = make_subplots(1, len(titles), subplot_titles=titles, horizontal_spacing=0.02)
    figure.add_layout_image(_placed(_source(pixels, grey=False), 0, 0), row=1, col=1)
    picture = _source(pixels, grey=True)
    for column, (_, found) in enumerate(maps, 2):
        figure.add_layout_image(_placed(picture, 0, 0, opacity=1 if found is not None else 0.25), row=1, col=column)
        if found is not None:
            figure.add_trace(_heat(found, 0, 0, coloraxis="coloraxis", opacity=opacity), row=1, col=column)
    _square(figure, len(titles))
    figure.update_layout(
        height=height, margin={"l": 0, "r": 0, "t": 34, "b": 4}, plot_bgcolor="rgba(0,0,0,0)",
        coloraxis={"colorscale": SCALE, "cmin": 0, "cmax": _top([found for _, found in maps]),
                   "colorbar": {"title": {"text": "share of<br>attention"}, "tickformat": ".1~%", "thickness": 12,
                                "outlinewidth": 0, "len": 0.9}},
    )  # fmt: skip
    return figure


def groups(pixels: Pixels, owners: NDArray[np.integer[Any]], height: int = 400) -> go.Figure:
    """The image beside its tokens: patches of one token share their mean colour, with a line between tokens.

    Args:
        owners: [h, w] the token of each patch, -1 where it was dropped.
    """
    figure = make_subplots(1, 2, subplot_titles=["image", "tokens"], horizontal_spacing=0.02)
    figure.add_layout_image(_placed(_source(pixels, grey=False), 0, 0), row=1, col=1)
    figure.add_layout_image(_placed(_source(_blended(pixels, owners), grey=False, smooth=False), 0, 0), row=1, col=2)
    xs, ys = _borders(owners)
    figure.add_trace(
        go.Scatter(x=xs, y=ys, mode="lines", line={"color": "white", "width": 1.5}, hoverinfo="skip"), row=1, col=2
    )
    _square(figure, 2)
    figure.update_layout(
        height=height, margin={"l": 0, "r": 0, "t": 34, "b": 4}, plot_bgcolor="rgba(0,0,0,0)", showlegend=False
    )
    return figure


def strip(
    pixels: Pixels, rows: Sequence[tuple[str, Sequence[Map | None]]], labels: Sequence[str], chosen: int | None = None
) -> go.Figure:
    """All blocks at a glance: a column for each block, a row for each model, one colour scale for each column.

    Args:
        rows: Name of a model and its maps, None where a block is gone.
        labels: Of the columns.
        chosen: The column to frame.
    """
    figure = go.Figure()
    picture, gap = _source(pixels, grey=True, side=96), 0.08
    for down, (_, maps) in enumerate(rows):
        for across, found in enumerate(maps):
            x, y = across * (1 + gap), down * (1 + gap)
            figure.add_layout_image(_placed(picture, x, y, opacity=1 if found is not None else 0.25))
            if found is not None:
                top = _top([other[across] for _, other in rows])
                figure.add_trace(_heat(found, x, y, zmin=0, zmax=top, colorscale=SCALE, showscale=False, opacity=0.8))
    centres = [across * (1 + gap) + 0.5 for across in range(len(labels))]
    heights = [down * (1 + gap) + 0.5 for down in range(len(rows))]
    figure.add_trace(_targets(centres, heights, labels, [name for name, _ in rows]))
    if chosen is not None:
        figure.add_shape(type="rect", x0=centres[chosen] - 0.54, x1=centres[chosen] + 0.54, y0=-0.04,
                         y1=heights[-1] + 0.54, line={"color": FRAME, "width": 3})  # fmt: skip
    ticks = {"showgrid": False, "zeroline": False, "fixedrange": True, "ticks": ""}
    figure.update_xaxes(
        range=[-0.06, centres[-1] + 0.56],
        tickvals=centres,
        ticktext=list(labels),
        side="top",
        constrain="domain",
        **ticks,
    )
    figure.update_yaxes(
        range=[heights[-1] + 0.56, -0.06], tickvals=heights, ticktext=[name for name, _ in rows], scaleanchor="x",
        constrain="domain", **ticks,
    )  # fmt: skip
    height = min(520, 60 + int(len(rows) * 1_150 / max(len(labels), 4)))
    figure.update_layout(height=height, margin={"l": 4, "r": 4, "t": 26, "b": 4}, plot_bgcolor="rgba(0,0,0,0)",
                         showlegend=False, clickmode="event+select", dragmode=False)  # fmt: skip
    return figure


def map_rows(maps: Sequence[tuple[str, Map | None]]) -> list[dict[str, Any]]:
    """The table twin of `side_by_side`: every patch with its shares, the most looked at first."""
    known = [(title, found) for title, found in maps if found is not None]
    if not known:
        return []
    height, width = known[0][1].shape
    patches = sorted(np.ndindex(height, width), key=lambda at: -max(float(found[at]) for _, found in known))
    return [
        {"row": row + 1, "column": column + 1, **{title: f"{found[row, column]:.2%}" for title, found in known}}
        for row, column in patches
    ]


def strip_rows(rows: Sequence[tuple[str, Sequence[Map | None]]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The table twin of `strip`: where each block looks most, and how much of its attention that is."""
    return [
        {"block": label, **{name: _peak(maps[number]) for name, maps in rows}} for number, label in enumerate(labels)
    ]


def group_rows(owners: NDArray[np.integer[Any]]) -> list[dict[str, Any]]:
    """The table twin of `groups`: the tokens that stand for more than one patch, the largest first."""
    members: dict[int, list[str]] = {}
    for row, column in np.ndindex(*owners.shape):
        members.setdefault(int(owners[row, column]), []).append(f"({row + 1}, {column + 1})")
    merged = sorted((m for token, m in members.items() if token >= 0 and len(m) > 1), key=len, reverse=True)
    return [{"patches": len(together), "row and column of each": " ".join(together)} for together in merged]


def _peak(found: Map | None) -> str:
    if found is None:
        return "removed"
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    return f"row {row + 1}, column {column + 1}: {found.max():.1%}"


def _top(maps: Sequence[Map | None]) -> float:
    """Upper end of a scale that all of these share."""
    return max((float(found.max()) for found in maps if found is not None), default=1.0) or 1.0


def _heat(found: Map, x: float, y: float, **style: Any) -> go.Heatmap:
    """A map on the unit square whose upper left corner is at x, y."""
    height, width = found.shape
    return go.Heatmap(
        z=np.round(found, 6), x0=x + 0.5 / width, dx=1 / width, y0=y + 0.5 / height, dy=1 / height,
        hovertemplate="%{z:.2%} of the attention<extra></extra>", **style,
    )  # fmt: skip


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


def _placed(source: str, x: float, y: float, *, opacity: float = 1.0) -> dict[str, Any]:
    """An image on the unit square whose upper left corner is at x, y."""
    return {"source": source, "xref": "x", "yref": "y", "x": x, "y": y, "sizex": 1, "sizey": 1,
            "sizing": "stretch", "layer": "below", "opacity": opacity}  # fmt: skip


def _square(figure: go.Figure, columns: int) -> None:
    """Unit squares without axes, y downwards; in place."""
    for column in range(1, columns + 1):
        anchor = "x" if column == 1 else f"x{column}"
        figure.update_xaxes(range=[0, 1], constrain="domain", **_QUIET, row=1, col=column)
        figure.update_yaxes(range=[1, 0], scaleanchor=anchor, constrain="domain", **_QUIET, row=1, col=column)


def _blended(pixels: Pixels, owners: NDArray[np.integer[Any]]) -> Pixels:
    """The image with the mean colour of its token in every patch."""
    small = np.asarray(Image.fromarray(pixels).resize(owners.shape[::-1], Image.Resampling.BOX), dtype=np.float64)
    blended = small.copy()
    for token in np.unique(owners):
        blended[owners == token] = small[owners == token].mean(0)
    return blended.round().astype(np.uint8)


def _borders(owners: NDArray[np.integer[Any]]) -> tuple[list[float | None], list[float | None]]:
    """Lines between neighbouring patches of different tokens, in a unit square; None lifts the pen."""
    height, width = owners.shape
    xs: list[float | None] = []
    ys: list[float | None] = []
    for row, column in np.argwhere(owners[:, 1:] != owners[:, :-1]):
        x, y = (column + 1) / width, row / height
        xs, ys = [*xs, x, x, None], [*ys, y, y + 1 / height, None]
    for row, column in np.argwhere(owners[1:] != owners[:-1]):
        x, y = column / width, (row + 1) / height
        xs, ys = [*xs, x, x + 1 / width, None], [*ys, y, y, None]
    return xs, ys


def _source(pixels: Pixels, *, grey: bool, side: int = _SHARP, smooth: bool = True) -> str:
    """The image as a PNG in a data address."""
    picture = Image.fromarray(pixels)
    if grey:
        picture = picture.convert("L")
    if max(picture.size) < side:
        picture = picture.resize((side, side), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    elif side < _SHARP:
        picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
