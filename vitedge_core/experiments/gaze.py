"""One image through a model before and after its recipe: predictions, and where both look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vitedge_core.compress import Compressed, compress, context_for, load_trained
from vitedge_core.datasets.uploads import as_seen, prepared
from vitedge_core.datasets.wild_digits import CLASSES as DIGITS
from vitedge_core.evidence import Quantity
from vitedge_core.explain.attention import Head, Observation, attention_map, rollout_map
from vitedge_core.explain.fate import Fate
from vitedge_core.explain.lineage import Origin, origins
from vitedge_core.explain.observer import observe
from vitedge_core.models.load import preprocessing
from vitedge_core.models.zoo import card
from vitedge_core.recipe import Recipe

Map = NDArray[np.float32]  # [h, w], shares of all attention


@dataclass(frozen=True, slots=True)
class View:
    """Which map to look at: of a block of the uncompressed model, and of one head or all; or the rollout."""

    block: int | None = 0  # None is the rollout
    head: Head = "mean"


@dataclass(frozen=True, slots=True)
class Gaze:
    """What two models made of one image.

    pixels: [side, side, 3] uint8, the part of the image that the network sees. origins: which block and heads of the
    model before those of the model after are; the numbers of blocks and heads are always those before.
    """

    before: Observation
    after: Observation
    origins: tuple[Origin, ...]
    pixels: NDArray[np.uint8]

    @property
    def blocks(self) -> int:
        """How many blocks the uncompressed model has to look at."""
        return len(self.before.blocks)

    @property
    def flipped(self) -> bool:
        """Whether the models name different classes."""
        return bool(self.before.logits.argmax() != self.after.logits.argmax())

    def counterpart(self, block: int) -> int | None:
        """The number in the compressed model of a block of the uncompressed one; None if it was removed."""
        return next((new for new, origin in enumerate(self.origins) if origin.block == block), None)

    def heads(self, block: int) -> int:
        """How many heads a block of the uncompressed model has."""
        return self.before.blocks[block].heads

    def maps(self, view: View) -> tuple[Map | None, Map | None]:
        """The map before and after; None where there is nothing to look at."""
        if view.block is None:
            return _rolled(self.before), _rolled(self.after)
        before = attention_map(self.before, view.block, view.head) if self.before.blocks else None
        return _array(before), _array(self._after(view.block, view.head))

    def strip(self, head: Head = "mean") -> tuple[list[Map | None], list[Map | None]]:
        """The maps of every block, before and after; the mean where a block has no head of that number."""
        views = [
            View(block, "mean" if isinstance(head, int) and head >= self.heads(block) else head)
            for block in range(self.blocks)
        ]
        before, after = zip(*map(self.maps, views), strict=True)
        return list(before), list(after)

    def why_not(self, view: View) -> str:
        """Why `maps` cannot give both maps, in one sentence; empty when it can."""
        if not self.before.blocks or not self.after.blocks:
            return self.before.note or self.after.note
        if view.block is None or self._after(view.block, view.head) is not None:
            return ""
        if self.counterpart(view.block) is None:
            return f"The recipe removed block {view.block + 1}, so only the baseline has a map of it."
        head = f"head {view.head + 1}" if isinstance(view.head, int) else "every head"
        return f"The recipe removed {head} of block {view.block + 1}; choose another one, or the mean."

    @property
    def merges(self) -> bool:
        """Whether the compressed model puts patches together that the uncompressed one keeps apart."""
        return self.after.final is not None and self.before.final is not None and self.tokens < self.before.final.tokens

    @property
    def tokens(self) -> int:
        """How many tokens the compressed model has left after its last block."""
        return self.after.final.tokens if self.after.final is not None else 0

    def groups(self, block: int) -> NDArray[np.int64]:
        """The token of the compressed model that each patch belongs to after its block of that number, [h, w]."""
        fates = [look.fate for look in self.after.blocks[1:]]
        fate: Fate | None = [*fates, self.after.final][block]
        assert fate is not None
        return self.after.on_grid(fate.owner).numpy()

    def _after(self, block: int, head: Head) -> Tensor | None:
        new = self.counterpart(block)
        if new is None or not self.after.blocks:
            return None
        if isinstance(head, int):
            kept = self.origins[new].heads
            return attention_map(self.after, new, kept.index(head)) if head in kept else None
        return attention_map(self.after, new, head)


def look(
    recipe: Recipe,
    image: Image.Image,
    images: str | None = None,
    report: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Gaze:
    """Show one image to a model and to what the recipe makes of it.

    Args:
        recipe: Its model is the one before.
        image: RGB.
        images: Where the recipe's steps find images, as for `context_for`.
        report: Told the share of the recipe that is done.
        cancelled: Asked often.

    Raises:
        VitEdgeError: The model has no weights here, or a step cannot be carried out.
    """
    wants = preprocessing(recipe.model)
    ready = prepared(image, wants)
    before = observe(load_trained(recipe.model), ready)
    if not recipe.active:
        return gaze(before, before, None, as_seen(ready, wants))
    done = compress(recipe, context_for(recipe, images), report, cancelled)
    return gaze(before, observe(done.model, ready), done, as_seen(ready, wants))


def gaze(before: Observation, after: Observation, done: Compressed | None, pixels: NDArray[np.uint8]) -> Gaze:
    """Put two observations of the same image together."""
    lineage = origins(done.plans, done.techniques) if done is not None else ()
    if len(lineage) != len(after.blocks):  # a network whose blocks no method edits
        lineage = tuple(Origin(number, tuple(range(block.heads))) for number, block in enumerate(after.blocks))
    return Gaze(before, after, lineage, pixels)


def class_names(model: str, count: int) -> tuple[str, ...]:
    """What the classes of a model are called, as far as its card knows them."""
    task = card(model).task
    if task == "digits" and count == len(DIGITS):
        return DIGITS
    if task == "imagenet" and count == 1_000:
        from timm.data.imagenet_info import ImageNetInfo

        info = ImageNetInfo()
        return tuple(info.index_to_description(index).split(",")[0] for index in range(count))
    return tuple(f"class {index}" for index in range(count))


def confidence(seen: Observation, label: int, whose: str) -> Quantity:
    """The probability a model gives to a class."""
    share = float(seen.probabilities[label])
    return Quantity.exact(share, "share", f"softmax of the {whose} model's logits for this image alone")


def on_object(found: Map, mask: Tensor) -> Quantity:
    """Share of a map's attention to patches that falls on an object.

    Args:
        found: [h, w].
        mask: [height, width] bool, the object.
    """
    covered = F.adaptive_avg_pool2d(mask[None].float(), found.shape)[0].numpy()
    share = float((found * covered).sum() / max(float(found.sum()), 1e-12))
    area = float(mask.float().mean())
    source = (
        "attention to each patch of this image times the share of the patch that the object's mask covers; even "
        f"attention would give {area:.1%}"
    )
    return Quantity.exact(min(share, 1.0), "share", source)


def overlap(first: Map, second: Map) -> Quantity:
    """How much of two maps coincides: the sum over patches of the smaller share."""
    shared = float(np.minimum(first / first.sum(), second / second.sum()).sum())
    return Quantity.exact(
        min(shared, 1.0), "share", "this image: sum over patches of the smaller of both shares of attention"
    )


def _rolled(seen: Observation) -> Map | None:
    return _array(rollout_map(seen)) if seen.blocks else None


def _array(found: Tensor | None) -> Map | None:
    return None if found is None else found.numpy()
