"""What counts for an answer: over the image, and by block and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from vitedge_core.plots import canvas
from vitedge_core.plots.attention import signed as signed_heat
from vitedge_core.plots.canvas import Map, Pixels


def top_of(*maps: Map) -> float:
    """Upper end of a scale that these share: the largest size of a value, leaving out the outermost thousandth."""
    sizes = np.concatenate([np.abs(found[np.isfinite(found)]).ravel() for found in maps])
    return float(np.quantile(sizes, 0.999)) or 1.0


def panel(pixels: Pixels, found: Map, title: str, top: float, *, signed: bool, unit: str) -> go.Figure:
    """Values over the grey image.

    Args:
        pixels: The image.
        found: [h, w].
        title: Whose values they are.
        top: Of the colour scale, from `top_of` both maps.
        signed: Whether values below zero speak against the class.
        unit: Of the values.
    """
    figure = canvas.titled(canvas.square(pixels, height=372), title)
    if signed:
        return figure.add_trace(signed_heat(found, top, 0.75, (".2~g", unit)))
    bar = canvas.bar(unit, ".2~g")
    return figure.add_trace(canvas.heat(found, zmin=0, zmax=top, colorscale=canvas.SCALE, opacity=0.7, colorbar=bar))


def heads(found: Map, title: str, top: float) -> go.Figure:
    """Values by block (down) and head (across); a gap where a head is gone.

    Args:
        found: [L, H], NaN where a head is gone.
        title: Whose values they are.
        top: Of the colour scale.
    """
    blocks, count = found.shape
    texts = [[f"{value:+.2f}" if np.isfinite(value) else "removed" for value in row] for row in found]
    figure = go.Figure(
        go.Heatmap(
            z=np.round(found, 5), x=[f"head {head + 1}" for head in range(count)],
            y=[f"block {block + 1}" for block in range(blocks)], text=texts, texttemplate="%{text}", xgap=2, ygap=2,
            zmin=-top, zmax=top, colorscale=canvas.SIGNED, hovertemplate="%{y}, %{x}: %{text} logit<extra></extra>",
            colorbar=canvas.bar("change of the logit through the head", ".2~g"),
        )
    )  # fmt: skip
    figure.update_xaxes(showgrid=False, fixedrange=True)
    figure.update_yaxes(showgrid=False, fixedrange=True, autorange="reversed")
    figure.update_layout(height=110 + 34 * blocks, margin={"l": 4, "r": 4, "t": 28, "b": 4},
                         plot_bgcolor="rgba(0,0,0,0)")  # fmt: skip
    return canvas.titled(figure, title)


def map_rows(maps: Sequence[tuple[str, Map]], count: int = 50) -> list[dict[str, Any]]:
    """The table twin of the maps: the places that count most in either model."""
    height, width = maps[0][1].shape
    sizes = np.max([np.abs(found) for _, found in maps], axis=0)
    order = np.argsort(-sizes, axis=None, kind="stable")[:count]
    return [
        {"row": f"{row + 1} of {height}", "column": f"{column + 1} of {width}",
         **{name: f"{found[row, column]:+.3g}" for name, found in maps}}
        for row, column in (divmod(int(place), width) for place in order)
    ]  # fmt: skip


def head_rows(maps: Sequence[tuple[str, Map]]) -> list[dict[str, Any]]:
    """The table twin of `heads`."""
    return [
        {"block": block + 1, "head": head + 1,
         **{name: f"{found[block, head]:+.3f}" if np.isfinite(found[block, head]) else "removed"
            for name, found in maps}}
        for block, head in np.ndindex(*maps[0][1].shape)
    ]  # fmt: skip
