"""What a recipe broke, and where: layers that drift apart, answers that flip, and whether it still sees the object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import nn

from vitedge_core.compress import Compressed, compress, context_for, load_trained
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments import looking, object_gaze
from vitedge_core.experiments.evaluate import baseline_outcome, images_for, notes_on, section, tested_on
from vitedge_core.experiments.object_gaze import ObjectGaze, Pair
from vitedge_core.explain.divergence import Divergence, divergence
from vitedge_core.explain.lineage import origins
from vitedge_core.measure import accuracy
from vitedge_core.measure.agreement import Agreement, agreement
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe, Step

IMAGES = 500
DRIFT_IMAGES = 128  # on which the blocks' outputs are compared: they are large, and differ little between images
_DRIFT_BATCH = 32

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class WhatBroke:
    """Everything measured of a recipe beside its baseline, on the same n images.

    gaze: None where it cannot be known, and then `why_no_gaze` says why. notes: what to know of the images.
    """

    recipe: Recipe
    images: str
    n: int
    agreement: Agreement
    divergence: Divergence
    gaze: ObjectGaze | None
    why_no_gaze: str = ""
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> Pair:
        """Right answers before and after."""
        return Pair(self.n, *self.agreement.accuracy, self.agreement.difference)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them; every quantity carries the number of images behind it."""
        return plain(self)


def plain(value: Any, n: int | None = None) -> Any:
    """Results as plain values: a quantity gets the `n` of the nearest result around it."""
    if isinstance(value, Quantity):
        return {**value.to_dict(), "n": n}
    if isinstance(value, Recipe | Step):
        return value.to_dict()
    if is_dataclass(value):
        inside = getattr(value, "n", n)
        return {field.name: plain(getattr(value, field.name), inside) for field in fields(value)}
    return [plain(item, n) for item in value] if isinstance(value, tuple) else value


def what_broke(
    recipe: Recipe,
    images: str | LabelledImages | None = None,
    limit: int | None = IMAGES,
    *,
    curve_images: int = looking.CURVE_IMAGES,
    report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
) -> WhatBroke:
    """Carry out a recipe and find what it broke.

    Args:
        recipe: Its model is the baseline.
        images: A set or what `open_images` takes; by default the model's own. What a step calibrated or trained on is
            left out.
        limit: Images at most, None for all.
        curve_images: Images at most for deletion and insertion.
        report: Told the share done and a sentence.
        cancelled: Asked often; true raises `Cancelled`.

    Raises:
        VitEdgeError: No weights, no images, images of other classes, or a step that cannot be carried out.
    """
    opened = images_for(recipe.model, images)
    done = compress(recipe, context_for(recipe, opened), section(report, 0.0, 0.2), cancelled)
    tested, wants = tested_on(recipe, opened), preprocessing(recipe.model)
    part = section(report, 0.2, 0.35)
    before = baseline_outcome(recipe.model, tested, limit, report=part, cancelled=cancelled)
    part = section(report, 0.35, 0.5)
    after = accuracy.evaluate(done.model, tested, wants, limit, report=part, cancelled=cancelled)
    base = load_trained(recipe.model).eval()
    drift = _drift(base, done, tested, section(report, 0.5, 0.6), cancelled)
    gaze, why = _gaze(base, done, tested, (limit or len(tested), curve_images), section(report, 0.6, 1.0), cancelled)
    report(1.0, "Done.")
    compared = agreement(before, after, tested.class_names)
    return WhatBroke(recipe, tested.title, after.n, compared, drift, gaze, why, notes_on(opened, tested))


def _drift(base: nn.Module, done: Compressed, images: LabelledImages, report: Report, cancelled: Cancel) -> Divergence:
    total = min(DRIFT_IMAGES, len(images))

    def tick(count: int) -> None:
        if cancelled():
            raise Cancelled
        report(count / total, f"Comparing the blocks' outputs, {count:,} of {total:,} images")

    batches = images.batches(preprocessing(done.recipe.model), DRIFT_IMAGES, _DRIFT_BATCH)
    lineage = origins(done.plans, done.techniques)
    return divergence(base, done.model, lineage, (batch.images for batch in batches), tick)


def _gaze(  # noqa: PLR0917  progress and the wish to stop go everywhere
    base: nn.Module, done: Compressed, images: LabelledImages, counts: tuple[int, int], report: Report,
    cancelled: Cancel,
) -> tuple[ObjectGaze | None, str]:  # fmt: skip
    """Where both models look, or the sentence that says why nobody knows."""
    name = done.recipe.model
    try:
        found = object_gaze.object_gaze(
            name, base, done.model, images, preprocessing(name), limit=min(counts[0], looking.IMAGES),
            curve_images=counts[1], report=report, cancelled=cancelled,
        )  # fmt: skip
    except Cancelled:
        raise
    except VitEdgeError as reason:
        return None, str(reason)
    return found, ""
