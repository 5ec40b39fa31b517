"""An image as the ground of a figure: a unit square, y downwards, with maps over it and marks to click.

Every map lies over a grey copy of the image, so that colour always means the map.
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

Pixels = NDArray[np.uint8]  # [side, side, 3]
Map = NDArray[np.floating[Any]]  # [h, w]

# Inferno: even steps of brightness, told apart by every kind of colour vision and in print. Its own first colour,
# #000004, is one that Streamlit's theme takes for a place to put a colour of its own.
SCALE = ["#03020A", "#1B0C41", "#4A0C6B", "#781C6D", "#A52C60", "#CF4446", "#ED6925", "#FB9B06", "#F7D13D", "#FCFFA4"]
SIGNED = ["#3B2A7A", "#7A6FB5", "#B9B3D9", "#F2F0EE", "#F6C27A", "#E58A1F", "#A84F00"]  # violet less, orange more
FRAME = "#56B4E9"
SHARP = 384  # pixels a side that a small image is enlarged to, so that the browser does not blur it
QUIET = {
    "showgrid": False, "zeroline": False, "showticklabels": False, "showline": False, "ticks": "", "fixedrange": True,
}  # fmt: skip


def square(pixels: Pixels, *, grey: bool = True, faded: bool = False, height: int = 330) -> go.Figure:
    """A figure that holds the image on a unit square, ready for maps."""
    figure = go.Figure()
    figure.add_layout_image(placed(source(pixels, grey=grey), 0, 0, opacity=0.25 if faded else 1))
    figure.update_xaxes(range=[0, 1], constrain="domain", **QUIET)
    figure.update_yaxes(range=[1, 0], scaleanchor="x", constrain="domain", **QUIET)
    figure.update_layout(
        height=height, margin={"l": 0, "r": 0, "t": 26, "b": 4}, plot_bgcolor="rgba(0,0,0,0)", showlegend=False,
        clickmode="event+select", dragmode=False,
    )  # fmt: skip
    return figure


def titled(figure: go.Figure, title: str) -> go.Figure:
    """The same figure with a small title above."""
    return figure.update_layout(title={"text": title, "x": 0.5, "xanchor": "center", "y": 0.99, "font": {"size": 14}})


def heat(found: Map, x: float = 0, y: float = 0, **style: Any) -> go.Heatmap:
    """A map on the unit square whose upper left corner is at x, y."""
    height, width = found.shape
    return go.Heatmap(
        z=np.round(found, 6), x0=x + 0.5 / width, dx=1 / width, y0=y + 0.5 / height, dy=1 / height, hoverinfo="skip",
        **style,
    )  # fmt: skip


def marks(grid: tuple[int, int], texts: Sequence[str]) -> go.Scatter:
    """Invisible marks in the middle of every patch, to hover and to click; a heat map itself cannot be selected."""
    height, width = grid
    rows, columns = np.divmod(np.arange(height * width), width)
    unseen, patches = {"marker": {"opacity": 0}}, list(range(height * width))
    return go.Scatter(
        x=(columns + 0.5) / width, y=(rows + 0.5) / height, mode="markers", text=list(texts),
        marker={"size": max(5, 300 / max(grid)), "opacity": 0, "symbol": "square"}, customdata=patches,
        hovertemplate="%{text}<extra></extra>", selected=unseen, unselected=unseen,
    )  # fmt: skip


def framed(figure: go.Figure, grid: tuple[int, int], patch: int | None) -> go.Figure:
    """The same figure with a frame around one patch."""
    if patch is not None:
        row, column = divmod(patch, grid[1])
        figure.add_shape(type="rect", x0=column / grid[1], x1=(column + 1) / grid[1], y0=row / grid[0],
                         y1=(row + 1) / grid[0], line={"color": FRAME, "width": 3})  # fmt: skip
    return figure


def bar(title: str, form: str) -> dict[str, Any]:
    """A thin colour bar below the figure."""
    return {
        "orientation": "h", "y": -0.02, "yanchor": "top", "thickness": 9, "len": 0.92, "outlinewidth": 0,
        "tickformat": form, "nticks": 5, "title": {"text": title, "side": "bottom", "font": {"size": 12}},
    }  # fmt: skip


def place(patch: int, width: int) -> str:
    """A patch as people count: "row 2, column 3"."""
    return f"row {patch // width + 1}, column {patch % width + 1}"


def placed(address: str, x: float, y: float, *, opacity: float = 1.0, axis: str = "") -> dict[str, Any]:
    """An image on the unit square whose upper left corner is at x, y."""
    return {"source": address, "xref": f"x{axis}", "yref": f"y{axis}", "x": x, "y": y, "sizex": 1, "sizey": 1,
            "sizing": "stretch", "layer": "below", "opacity": opacity}  # fmt: skip


def source(pixels: Pixels, *, grey: bool, side: int = SHARP, smooth: bool = True) -> str:
    """The image as a PNG in a data address."""
    picture = Image.fromarray(pixels)
    if grey:
        picture = picture.convert("L")
    if max(picture.size) < side:
        picture = picture.resize((side, side), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    elif side < SHARP:
        picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
