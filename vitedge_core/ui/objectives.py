"""What a chart of recipes can be drawn over: names of the objectives, their axes, the unit a person types them in."""

from __future__ import annotations

from dataclasses import dataclass

from vitedge_core.evidence import Quantity
from vitedge_core.experiments.points import GAINS


@dataclass(frozen=True, slots=True)
class Objective:
    """How an objective is shown. name: short. axis: the title there. suffix: after the prefix on the axis.

    typed: the unit of a budget. scale: one such unit in plain units.
    """

    key: str
    name: str
    axis: str
    suffix: str
    typed: str
    scale: float

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return self.key in GAINS

    @property
    def format(self) -> str:
        """How Plotly writes the numbers of the axis."""
        return ".0%" if self.higher else "~s"


OBJECTIVES = {
    each.key: each
    for each in (
        Objective("macs", "MACs", "MACs of one image", "", "million", 1e6),
        Objective("params", "Parameters", "Parameters", "", "million", 1e6),
        Objective("weight_bytes", "Size on disk", "Size of the weights file", "B", "MB", 1e6),
        Objective("peak_memory_bytes", "Peak memory", "Peak memory of one image", "B", "MB", 1e6),
        Objective("latency_seconds", "Latency", "Latency of one image on this machine", "s", "ms", 1e-3),
        Objective("accuracy", "Accuracy", "Accuracy", "", "%", 0.01),
        Objective("pointing_hits", "Points at the object",
                  "Pointing game: images where attention is highest on the object", "", "%", 0.01),
        Objective("attention_kept", "Attention kept",
                  "Attention on the object, as a share of the uncompressed model's", "", "%", 0.01),
    )
}  # fmt: skip


def ends(value: Quantity) -> tuple[float, float, float]:
    """A value with the ends of its interval; itself where it has none."""
    low = value.value if value.low is None else value.low
    high = value.value if value.high is None else value.high
    return value.value, low, high
