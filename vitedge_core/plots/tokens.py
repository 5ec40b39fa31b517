"""What became of the patches: which of them share a token, and which were dropped, after each block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from vitedge_core.plots import canvas
from vitedge_core.plots.canvas import Pixels

Owners = NDArray[np.integer[Any]]  # [h, w] the token of each patch, -1 where it was dropped


def groups(pixels: Pixels, owners: Owners, chosen: int | None = None) -> go.Figure:
    """Patches of one token share their mean colour, with a line between tokens; dropped ones are dark and crossed out.

    Args:
        pixels: The image.
        owners: [h, w].
        chosen: A patch to frame, with all that share its token.
    """
    figure = canvas.titled(canvas.square(_blended(pixels, owners), grey=False, height=372), "tokens")
    xs, ys = _borders(owners)
    figure.add_trace(go.Scatter(x=xs, y=ys, mode="lines", line={"color": "white", "width": 1.5}, hoverinfo="skip"))
    rows, columns = np.nonzero(owners < 0)
    figure.add_trace(
        go.Scatter(x=(columns + 0.5) / owners.shape[1], y=(rows + 0.5) / owners.shape[0], mode="markers",
                   marker={"symbol": "x-thin", "size": 10, "line": {"color": "#F0883E", "width": 2}}, hoverinfo="skip")
    )  # fmt: skip
    figure.add_trace(canvas.marks(_grid(owners), _said(owners)))
    for patch in together(owners, chosen):
        canvas.framed(figure, _grid(owners), patch)
    return figure


def together(owners: Owners, chosen: int | None) -> list[int]:
    """The patches in the token of the chosen one; itself alone once it is dropped; none without a choice."""
    if chosen is None:
        return []
    mine = owners.flat[chosen]
    return [chosen] if mine < 0 else np.flatnonzero(owners.ravel() == mine).tolist()


def group_rows(owners: Owners) -> list[dict[str, Any]]:
    """The table twin of `groups`: tokens of more than one patch, the largest first, and what was dropped."""
    members: dict[int, list[str]] = {}
    for row, column in np.ndindex(*owners.shape):
        members.setdefault(int(owners[row, column]), []).append(f"({row + 1}, {column + 1})")
    gone = members.pop(-1, [])
    merged = sorted((m for m in members.values() if len(m) > 1), key=len, reverse=True)
    rows = [("merged", patches) for patches in merged] + ([("dropped", gone)] if gone else [])
    return [{"fate": fate, "patches": len(m), "row and column of each": " ".join(m)} for fate, m in rows]


def counts(owners: Owners) -> tuple[int, int, int]:
    """How many patches are still tokens of their own, merged with others, dropped."""
    _, inverse, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    gone = int((owners < 0).sum())
    alone = int(((sizes[inverse.ravel()] == 1) & (owners.ravel() >= 0)).sum())
    return alone, owners.size - alone - gone, gone


def _grid(owners: Owners) -> tuple[int, int]:
    return owners.shape[0], owners.shape[1]


def _said(owners: Owners) -> Sequence[str]:
    flat, width = owners.ravel(), owners.shape[1]
    sizes = {token: int((flat == token).sum()) for token in np.unique(flat)}
    fates = [
        "dropped" if token < 0 else "a token of its own" if sizes[token] == 1 else f"one of {sizes[token]} in its token"
        for token in flat
    ]
    return [f"{canvas.place(patch, width)}: {fate}<br>click to follow it" for patch, fate in enumerate(fates)]


def _blended(pixels: Pixels, owners: Owners) -> Pixels:
    """The image with the mean colour of its token in every patch, sharp at the patches' edges; dropped ones dark."""
    small = np.asarray(Image.fromarray(pixels).resize(owners.shape[::-1], Image.Resampling.BOX), dtype=np.float64)
    blended = small.copy()
    for token in np.unique(owners):
        blended[owners == token] = small[owners == token].mean(0) if token >= 0 else 24
    scale = -(-canvas.SHARP // max(owners.shape))
    return blended.round().astype(np.uint8).repeat(scale, 0).repeat(scale, 1)


def _borders(owners: Owners) -> tuple[list[float | None], list[float | None]]:
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
