"""The outcome of measuring a recipe, as a plain value: whoever only reads it needs no PyTorch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vitedge_core.evidence import Quantity
from vitedge_core.plan import Plan
from vitedge_core.recipe import Recipe

COSTS = ("params", "macs", "weight_bytes", "peak_memory_bytes")
FIGURES = (*COSTS, "measured_memory_bytes", "latency_seconds", "accuracy")
# where it looks, measured on request where objects have masks: pointing-game hits, attention on the object, and that
# as a share of what the uncompressed model has there
GAZE = ("pointing_hits", "attention_on_object", "attention_kept")
# of a recipe in an engine other than eager PyTorch: its file and building, and its agreement with the eager model
IN_ENGINE = ("artefact_bytes", "build_seconds", "same_answers", "logits_error", "eager_accuracy")
QUICK = 500  # images of a first answer


class Gate(Protocol):
    """Decides how much of an evaluation is worth its time. rungs: numbers of images after which it is asked."""

    @property
    def rungs(self) -> Collection[int]:
        """Numbers of images after which `enough` is asked."""
        ...

    def before(self, plan: Plan, baseline: Quantity) -> None:
        """Raise `Unneeded` if the images can show nothing: of a recipe's exact plan, with its baseline's accuracy."""
        ...

    def enough(self, accuracy: Quantity, difference: Quantity, n: int) -> bool:
        """Whether an accuracy on n images, and its paired difference from the baseline's, need no more of them."""
        ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A recipe beside its baseline, on the same images.

    baseline, compressed: figures by name, as in `FIGURES`, `GAZE` and `IN_ENGINE`; what was not asked for is absent.
    n: images behind the accuracies. difference: of the accuracies, paired. ratio: of the latencies, paired. images:
    what `open_images` takes; digest: names the images themselves. notes: sentences that belong beside the figures.
    """

    recipe: Recipe
    images: str
    digest: str
    n: int
    baseline: Mapping[str, Quantity]
    compressed: Mapping[str, Quantity]
    difference: Quantity
    ratio: Quantity | None = None
    notes: tuple[str, ...] = ()

    @property
    def flagged(self) -> bool:
        """Whether its engine changes more answers of the eager model than half the width of the accuracy's interval."""
        same, eager = self.compressed.get("same_answers"), self.compressed.get("eager_accuracy")
        if same is None or eager is None or eager.low is None or eager.high is None:
            return False
        return 1 - same.value > (eager.high - eager.low) / 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them."""
        return {
            "recipe": self.recipe.to_dict(),
            "images": {"where": self.images, "digest": self.digest, "n": self.n},
            "baseline": plain(self.baseline, self.n),
            "compressed": plain(self.compressed, self.n),
            "difference": {**self.difference.to_dict(), "n": self.n},
            "latency_ratio": self.ratio.to_dict() if self.ratio else None,
            "notes": list(self.notes),
        }


def plain(figures: Mapping[str, Quantity], n: int | None = None) -> dict[str, Any]:
    """Figures as plain values; the accuracy carries the number of images behind it."""
    values = {name: quantity.to_dict() for name, quantity in figures.items()}
    if n is not None and "accuracy" in values:
        values["accuracy"]["n"] = n
    return values
