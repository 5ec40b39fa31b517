"""What figures share: their colours and the empty frame they are drawn in.

Colours after Okabe and Ito, told apart by every kind of colour vision. The lighter ones stand out from a white page as
well as from a dark one, for lines and marks; the full ones are for bars.
"""

from __future__ import annotations

from typing import Any

LIGHT_BLUE, LIGHT_GREEN, PINK, ORANGE, OCHRE, GREY = "#1F87C9", "#12A07A", "#C4659B", "#DD6B1F", "#A07F00", "#7E8C99"
BLUE, GREEN, RED, YELLOW = "#0072B2", "#009E73", "#D55E00", "#E69F00"
BEFORE, AFTER = "#9AA8B5", BLUE  # the baseline beside the compressed model
CLEAR = "rgba(0,0,0,0)"
BESIDE_CAMERA = {"l": 8, "r": 40, "t": 40, "b": 8}  # the legend ends left of the button that saves the picture


def frame(height: int, top: int = 24, **own: Any) -> dict[str, Any]:
    """The layout of a figure, legend above it; the page shines through.

    Given at once, because plotly checks every later update anew.

    Args:
        height: In pixels.
        top: Pixels above the plot, for the legend.
        own: What the figure has of its own; it overrules the rest.
    """
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": top, "b": 8},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hoverlabel": {"align": "left"},
        "uirevision": "keep",
        "modebar": {"bgcolor": CLEAR, "color": GREY, "activecolor": LIGHT_BLUE},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        **own,
    }
