"""The roofline of a device with a network's operations under it, before and after a recipe.

Williams, Waterman, Patterson, CACM 52(4), 2009. Kinds of operations are told by colour and shape together, so the
picture works without colour; the baseline is drawn as grey outlines, and arrows lead from it to the compressed network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from vitedge_core.plan import Kind
from vitedge_core.plots.frame import GREY, LIGHT_BLUE, LIGHT_GREEN, OCHRE, ORANGE, PINK, frame

LOOKS = {
    Kind.PATCH_EMBED: (OCHRE, "square"),
    Kind.QKV: (LIGHT_BLUE, "circle"),
    Kind.ATTENTION: (ORANGE, "diamond"),
    Kind.PROJECTION: (LIGHT_BLUE, "triangle-up"),
    Kind.MLP: (LIGHT_GREEN, "circle"),
    Kind.CONVOLUTION: (PINK, "square"),
    Kind.LINEAR: (LIGHT_GREEN, "pentagon"),
    Kind.TOKENS: (ORANGE, "star"),
    Kind.HEAD: (OCHRE, "hexagon"),
}
OTHER = (LIGHT_BLUE, "circle")
_SMALLEST, _LARGEST = 7, 34  # pixels
_ARROWS = 40


@dataclass(frozen=True, slots=True)
class Dot:
    """An operation or a sum of them: operations per byte and per second, share of the time, and what a hover says.

    key comes back when it is clicked; kind None is a sum of several.
    """

    key: str
    kind: Kind | None
    intensity: float
    speed: float
    share: float
    text: str


def roofline(
    peaks: Sequence[tuple[int, float]], bandwidth: float, before: Sequence[Dot], after: Sequence[Dot], *,
    unit: str = "MAC", height: int = 480,
) -> go.Figure:  # fmt: skip
    """Intensity to the right, speed upwards, both logarithmic; nothing can be above the roof.

    Args:
        peaks: Operations per second by bits of arithmetic.
        bandwidth: Bytes per second.
        before: Of the baseline; empty where there is nothing to compare.
        after: Of the compressed network.
        unit: What operations are counted in, here and in the dots.
        height: In pixels.
    """
    dots = [*before, *after]
    places = [dot.intensity for dot in dots] + [peak / bandwidth for _, peak in peaks]
    left, right = min(places, default=0.1) / 2, max(places, default=100.0) * 3
    data = [_roof(bits, peak, bandwidth, left, right, dash=number > 0)
            for number, (bits, peak) in enumerate(sorted(peaks, key=lambda pair: -pair[1]))]  # fmt: skip
    if before:
        data.append(_marks("Baseline", before, GREY, "circle", _sizes(before, dots), open_=True))
    for kind in dict.fromkeys(dot.kind for dot in after):
        own = [dot for dot in after if dot.kind is kind]
        colour, shape = LOOKS.get(kind, OTHER) if kind else OTHER
        data.append(_marks(kind.value if kind else "Compressed", own, colour, shape, _sizes(own, dots)))
    axis = {"type": "log", "automargin": True, "zeroline": False, "exponentformat": "SI", "dtick": 1}
    return go.Figure(data, frame(
        height, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
        xaxis={**axis, "title": {"text": f"{unit} for each byte moved"}},
        yaxis={**axis, "title": {"text": f"{unit}/s at best"}},
        annotations=_arrows(before, after), hovermode="closest", clickmode="event+select",
    ))  # fmt: skip


def _roof(bits: int, peak: float, bandwidth: float, left: float, right: float, *, dash: bool) -> go.Scatter:
    ridge = peak / bandwidth
    return go.Scatter(
        x=[left, ridge, right], y=[left * bandwidth, peak, peak], mode="lines", name=f"Roof, {bits} bits",
        line={"color": GREY, "width": 2.5, "dash": "dash" if dash else "solid"}, hoverinfo="skip",
    )  # fmt: skip


def _marks(
    name: str, dots: Sequence[Dot], colour: str, shape: str, sizes: Sequence[float], *, open_: bool = False
) -> go.Scatter:
    look = {"symbol": f"{shape}-open", "opacity": 0.6} if open_ else {"symbol": shape, "opacity": 0.85}
    return go.Scatter(
        x=[dot.intensity for dot in dots], y=[dot.speed for dot in dots], mode="markers", name=name,
        marker={"color": colour, "size": list(sizes), "line": {"width": 1}, **look},
        customdata=[[dot.key] for dot in dots], text=[dot.text for dot in dots],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": look["opacity"]}},
    )  # fmt: skip


def _sizes(dots: Sequence[Dot], among: Sequence[Dot]) -> list[float]:
    """Diameters whose areas are the shares of the time, the largest of `among` as large as marks get."""
    largest = max((dot.share for dot in among), default=0.0) or 1.0
    return [_SMALLEST + (_LARGEST - _SMALLEST) * math.sqrt(dot.share / largest) for dot in dots]


def _arrows(before: Sequence[Dot], after: Sequence[Dot]) -> list[dict[str, object]]:
    """From where a mark was to where it is, for the marks that moved visibly; those with most of the time first."""
    old = {dot.key: dot for dot in before}
    pairs = [(old[dot.key], dot) for dot in after if dot.key in old and _moved(old[dot.key], dot)]
    pairs.sort(key=lambda pair: -pair[1].share)
    return [
        {"x": math.log10(new.intensity), "y": math.log10(new.speed), "ax": math.log10(was.intensity),
         "ay": math.log10(was.speed), "xref": "x", "yref": "y", "axref": "x", "ayref": "y", "text": "",
         "showarrow": True, "arrowhead": 2, "arrowsize": 1, "arrowwidth": 1.5, "arrowcolor": GREY, "standoff": 4}
        for was, new in pairs[:_ARROWS]
    ]  # fmt: skip


def _moved(was: Dot, new: Dot) -> bool:
    along = math.log10(new.intensity / was.intensity)
    return math.hypot(along, math.log10(new.speed / was.speed)) > 0.02
