"""What the uncompressed model loses when one part of it goes, or gets fewer bits, and nothing else changes.

Heads one at a time: Michel, Levy and Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019,
arXiv:1905.10650. Blocks quantised one at a time: the layer-wise sensitivity of Dong et al., "HAWQ", ICCV 2019,
arXiv:1905.03696, but measured on answers and loss instead of estimated from the loss's curvature.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedge_core import bootstrap
from vitedge_core.compress import context_for, load_trained
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.errors import Cancelled
from vitedge_core.evidence import Quantity
from vitedge_core.experiments.evaluate import images_for
from vitedge_core.experiments.trials import BITS, BLOCK, BlockTrials, Change, Trials, roundings
from vitedge_core.measure.accuracy import Outcome, difference
from vitedge_core.models.load import preprocessing
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe, Step
from vitedge_core.techniques.base import Context

IMAGES = 256
CALIBRATION = 64  # images whose activations set the ranges of a quantised block
KEPT_BITS = 8
_BATCH = 64

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Cell:
    """What one change in one place costs, on the same images as the untouched model.

    drop: change of the accuracy, negative is worse. loss: growth of the cross-entropy. divergence: Kullback-Leibler
    divergence of the changed model's answers from the untouched one's. All with paired intervals.
    """

    place: int
    change: Change
    drop: Quantity
    loss: Quantity
    divergence: Quantity

    @property
    def step(self) -> Step | None:
        """What a recipe says to it: few bits, but not in this block; or this block removed. None for other changes."""
        if self.change.kind == BLOCK:
            return Step.of("layer_drop", blocks=str(self.place))
        bits = self.change.number
        if self.change.kind != BITS or bits >= KEPT_BITS:
            return None
        return Step.of("uniform_ptq", w_bits=bits, a_bits=bits, keep=str(self.place), keep_bits=KEPT_BITS)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """All trials of a model on n images. kind: "block", or "layer" where there are none. notes: what was left out."""

    model: str
    kind: str
    places: tuple[str, ...]
    changes: tuple[Change, ...]
    cells: tuple[Cell, ...]
    n: int
    seconds: float
    notes: tuple[str, ...] = ()

    def at(self, place: int, change: Change) -> Cell | None:
        """The trial of a change in a place; None where it cannot be made."""
        return next((cell for cell in self.cells if (cell.place, cell.change) == (place, change)), None)


def sensitivity(
    model: str,
    images: str | LabelledImages | None = None,
    limit: int = IMAGES,
    *,
    report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
) -> Sensitivity:
    """Try every head, MLP, block and number of bits of a model, one at a time.

    Args:
        model: The uncompressed model's name.
        images: A set or what `open_images` takes; the model's own by default.
        limit: Images at most, of those that calibration never sees.
        report: Told the share done and a sentence.
        cancelled: Asked before every trial; true raises `Cancelled`.

    Raises:
        VitEdgeError: No weights, no images, or images of other classes.
    """
    start = time.monotonic()
    opened = images_for(model, images)
    plan, network = trace(model), load_trained(model).eval()
    batches = list(opened.unseen().batches(preprocessing(model), limit, _BATCH))
    labels = torch.cat([batch.labels for batch in batches])
    calibration = context_for(Recipe(model), opened).images[:CALIBRATION]
    context = Context(calibration, cancelled=cancelled)
    rounding, notes = roundings(plan, network, context)
    trials = (BlockTrials if plan.blocks else Trials)(network, [b.images for b in batches], context, rounding)
    report(0.0, f"The untouched model on {len(labels):,} images")
    base = trials.untouched()
    cells, todo = [], list(trials.all())
    for number, (place, change) in enumerate(todo):
        if cancelled():
            raise Cancelled
        report(number / len(todo), f"{trials.names[place]}, {change.title}: trial {number + 1} of {len(todo)}")
        seen = _Seen(base, trials.run(place, change), labels, opened.title)
        cells.append(Cell(place, change, seen.drop, seen.loss, seen.divergence))
    changes = tuple(dict.fromkeys(change for _, change in todo))
    kind = "block" if plan.blocks else "layer"
    seconds = time.monotonic() - start
    return Sensitivity(model, kind, trials.names, changes, tuple(cells), len(labels), seconds, notes)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Logits of the untouched and of the changed model [n, K] on the same images, and what they differ in."""

    base: Tensor
    changed: Tensor
    labels: Tensor
    where: str

    @property
    def drop(self) -> Quantity:
        return difference(self._outcome(self.base), self._outcome(self.changed))

    @property
    def loss(self) -> Quantity:
        before, after = (F.cross_entropy(logits, self.labels, reduction="none") for logits in (self.base, self.changed))
        return bootstrap.mean(after - before, "nat", f"growth of the cross-entropy, {self._source}")

    @property
    def divergence(self) -> Quantity:
        before, after = self.base.log_softmax(-1), self.changed.log_softmax(-1)
        apart = (before.exp() * (before - after)).sum(-1).clamp_min(0)
        return bootstrap.mean(apart, "nat", f"Kullback-Leibler divergence of the answers, {self._source}")

    @property
    def _source(self) -> str:
        return f"paired on the same {len(self.labels):,} images of {self.where}"

    def _outcome(self, logits: Tensor) -> Outcome:
        sure, answer = logits.softmax(-1).max(-1)
        return Outcome(answer, answer == self.labels, sure, self.where)
