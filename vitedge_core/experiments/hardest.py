"""The images a recipe hits hardest: those whose prediction or attention changes most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vitedge_core.compress import compress, context_for, load_trained, matching
from vitedge_core.datasets.sets import LabelledImages, open_images
from vitedge_core.datasets.uploads import prepared
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity, wilson
from vitedge_core.experiments.gaze import overlap
from vitedge_core.explain.attention import Observation, rollout_map
from vitedge_core.explain.observer import observer
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe

IMAGES = 300
PREDICTION: Literal["prediction"] = "prediction"
ATTENTION: Literal["attention"] = "attention"
By = Literal["prediction", "attention"]


@dataclass(frozen=True, slots=True)
class Hit:
    """What a recipe does to one image.

    index: in the set. truth, before, after: the true class and both answers. sure: probabilities that both models give
    to the answer before. shared: how much of both rollout maps coincides, 0 to 1; None where there is no map.
    """

    index: int
    truth: int
    before: int
    after: int
    sure: tuple[float, float]
    shared: float | None

    @property
    def flipped(self) -> bool:
        """Whether the answer changes."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Hits:
    """What a recipe does to the first images of a set, in the set's order.

    where: the set, in words. unreadable: how many files among them are damaged and were passed over.
    """

    hits: tuple[Hit, ...]
    where: str
    unreadable: int = 0

    @property
    def flips(self) -> Quantity:
        """Share of images whose answer changes, with its Wilson interval."""
        count, total = sum(hit.flipped for hit in self.hits), len(self.hits)
        source = f"another answer on {count:,} of the first {total:,} images of {self.where}; 95 % Wilson interval"
        return Quantity(count / total, "share", Evidence.MEASURED, source, *wilson(count, total))

    def ranked(self, by: By) -> tuple[Hit, ...]:
        """The hardest hit first.

        By prediction: the fall of the probability of the answer before. By attention: the less both maps coincide;
        images without a map are left out.
        """
        if by == PREDICTION:
            return tuple(sorted(self.hits, key=lambda hit: hit.sure[1] - hit.sure[0]))
        mapped = [(hit.shared, hit) for hit in self.hits if hit.shared is not None]
        return tuple(hit for _, hit in sorted(mapped, key=lambda pair: pair[0]))


def hardest(
    recipe: Recipe,
    where: str,
    report: Callable[[float, str], None] = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
    count: int | None = None,
) -> Hits:
    """Show the first images of a set to a model and to what the recipe makes of it.

    Args:
        recipe: Its model is the one before.
        where: What `open_images` takes. Of a folder, only images that calibrated nothing are shown.
        report: Told the share that is done.
        cancelled: Asked before each image.
        count: How many images, at most; `IMAGES` by default.

    Raises:
        VitEdgeError: There is no such set, not one image can be read, or a step cannot be carried out.
        Cancelled: `cancelled` said so.
    """
    whole = matching(recipe.model, open_images(where))
    done = compress(recipe, context_for(recipe, whole), lambda share, text: report(0.2 * share, text), cancelled)
    models = observer(load_trained(recipe.model)), observer(done.model)
    images, wants, hits = whole.unseen(), preprocessing(recipe.model), []
    total, unreadable = min(count or IMAGES, len(images)), 0
    for index in range(total):
        if cancelled():
            raise Cancelled
        report(0.2 + 0.8 * index / total, f"Image {index + 1:,} of {total:,} through both models")
        try:
            ready = prepared(images.image(index), wants)
        except VitEdgeError:
            unreadable += 1
            continue
        hits.append(_hit(index, images, *(look(ready, None) for look in models)))
    if not hits:
        raise VitEdgeError(f"Not one image of {images.title} could be read.")
    return Hits(tuple(hits), images.title, unreadable)


def _hit(index: int, images: LabelledImages, before: Observation, after: Observation) -> Hit:
    answer = int(before.logits.argmax())
    sure = float(before.probabilities[answer]), float(after.probabilities[answer])
    mapped = before.blocks and after.blocks and before.grid == after.grid
    shared = overlap(rollout_map(before).numpy(), rollout_map(after).numpy()).value if mapped else None
    return Hit(index, images.label(index), answer, int(after.logits.argmax()), sure, shared)
