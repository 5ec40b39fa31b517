"""A lesson: what a person chooses for a distillation experiment, and what comes out of it. Plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.models.zoo import called

TAUGHT, ALONE = "taught", "alone"
WEIGHTS, SCRATCH = "weights", "scratch"
STARTS = (WEIGHTS, SCRATCH)
MOST_IMAGES = 2_000_000
HELD_OUT = 500  # images behind every point of a curve
LIMITS = {"temperature": (1, 20), "weight": (0, 1), "seconds": (1, 7_200), "images": (64, MOST_IMAGES)}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person chooses.

    teacher, student: names of models; start: "weights" trains the student on, "scratch" begins from nothing, with clean
    digits first. temperature and weight: of the soft loss. seconds: training time of both runs together; images: where
    each run ends at the latest, and one that ends by images gives the same weights every time.
    """

    teacher: str
    student: str
    temperature: float = 2.0
    weight: float = 0.7
    seconds: float = 120.0
    start: str = WEIGHTS
    images: int = MOST_IMAGES
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise VitEdgeError(f"{name} = {getattr(self, name):g} is outside {low:g} to {high:,}.")
        if self.start not in STARTS:
            raise VitEdgeError(f"A student starts from {' or '.join(STARTS)}, not from {self.start!r}.")
        if not 0 <= self.seed < 2**31:
            raise VitEdgeError("The seed must be a whole number from 0 to 2147483647.")

    @property
    def title(self) -> str:
        """The experiment in a few words."""
        return f"{called(self.student)} taught by {called(self.teacher)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the store and the model's card."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Point:
    """Where one of the two runs stands.

    step: optimiser steps; images: seen; seconds: the time this run alone has trained; loss: cross-entropy with the
    labels, whatever else is learned from, mean since the last point, None before the first step; top1: share right of
    held-out images; difficulty: of the images it trains on, 0 to 1.
    """

    arm: str
    step: int
    images: int
    seconds: float
    loss: float | None
    top1: float
    difficulty: float


@dataclass(frozen=True, slots=True)
class Result:
    """What the test images say when both runs are over.

    model: name under which the student with the teacher can be picked. teacher, taught, alone: top-1; gain: taught
    minus alone, paired on the same images; before: the student before this lesson, None from scratch. steps and images:
    of each run; seconds: that each has trained.
    """

    model: str
    teacher: Quantity
    taught: Quantity
    alone: Quantity
    gain: Quantity
    before: Quantity | None
    steps: int
    images: int
    seconds: dict[str, float]

    @property
    def verdict(self) -> str:
        """What the experiment says, as a sentence; a difference counts when its interval leaves zero out."""
        low, high = self.gain.low, self.gain.high
        if low is not None and low > 0:
            return "The teacher helped: with it, the same student learned more from the same images."
        if high is not None and high < 0:
            return "The teacher did harm here: without it, the same student learned more from the same images."
        return "No difference beyond chance: on the test images the two students are about equally good."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the store and the command line."""
        quantities = {name: getattr(self, name) for name in _QUANTITIES}
        return {
            "model": self.model, "steps": self.steps, "images": self.images, "seconds": self.seconds,
            **{name: quantity and quantity.to_dict() for name, quantity in quantities.items()},
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Result:
        """Read `to_dict`'s values."""
        quantities = {name: plain[name] and Quantity.from_dict(plain[name]) for name in _QUANTITIES}
        return cls(**{**plain, **quantities})


_QUANTITIES = ("teacher", "taught", "alone", "gain", "before")
