"""One image through a model before and after its recipe: predictions, and where both look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vitedge_core.compress import Compressed, compress, context_for, load_trained
from vitedge_core.datasets.uploads import as_seen, prepared
from vitedge_core.datasets.wild_digits import CLASSES as DIGITS
from vitedge_core.evidence import Quantity
from vitedge_core.explain.attention import Head, Observation, attention_map, one_patch, rollout_map
from vitedge_core.explain.fate import Became, Fate, Turn, story
from vitedge_core.explain.lineage import Origin, origins
from vitedge_core.explain.observer import observe
from vitedge_core.explain.relevance import relevance_map
from vitedge_core.models.load import preprocessing
from vitedge_core.models.zoo import card
from vitedge_core.recipe import Recipe

Map = NDArray[np.float32]  # [h, w], shares of all attention, or relevance


@dataclass(frozen=True, slots=True)
class View:
    """Which map to look at: of a block of the uncompressed model, and of one head or all; or of the whole network.

    block: None is the whole network. weighted: follow the whole network by gradients towards the baseline's answer
    (Chefer et al.), not by rollout. patch: who looks, counted by rows; None is what the classifier reads.
    """

    block: int | None = 0
    head: Head = "mean"
    weighted: bool = False
    patch: int | None = None


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
            return _whole(self.before, view), _whole(self.after, view)
        before = _of_block(self.before, view.block, view.head, view.patch) if self.before.blocks else None
        return _array(before), _array(self._after(view))

    def strip(self, head: Head = "mean", patch: int | None = None) -> tuple[list[Map | None], list[Map | None]]:
        """The maps of every block, before and after; the mean where a block has no head of that number."""
        views = [
            View(block, "mean" if isinstance(head, int) and head >= self.heads(block) else head, patch=patch)
            for block in range(self.blocks)
        ]
        before, after = zip(*map(self.maps, views), strict=True)
        return list(before), list(after)

    def why_not(self, view: View) -> str:
        """Why `maps` cannot give both maps, in one sentence; empty when it can."""
        if not self.before.blocks or not self.after.blocks:
            return self.before.note or self.after.note
        if view.block is not None and self.counterpart(view.block) is None:
            return f"The recipe removed block {view.block + 1}, so only the baseline has a map of it."
        if view.patch is not None and (gone := self._gone(view)) is not None:
            return f"The recipe dropped this patch in block {gone + 1}, so it looks at nothing afterwards."
        if view.block is None or self._after(view) is not None:
            return ""
        head = f"head {view.head + 1}" if isinstance(view.head, int) else "every head"
        return f"The recipe removed {head} of block {view.block + 1}; choose another one, or the mean."

    def _gone(self, view: View) -> int | None:
        """The block of the compressed model that dropped the patch before it could look; None if it still looks."""
        assert view.patch is not None
        last = self.story(view.patch)[-1]
        upto = self.counterpart(view.block) if view.block is not None else len(self.after.blocks)
        return last.block if last.became is Became.DROPPED and upto is not None and last.block < upto else None

    @property
    def merges(self) -> bool:
        """Whether the compressed model puts patches together that the uncompressed one keeps apart."""
        return self.after.final is not None and self.before.final is not None and self.tokens < self.before.final.tokens

    @property
    def tokens(self) -> int:
        """How many tokens the compressed model has left after its last block."""
        return self.after.final.tokens if self.after.final is not None else 0

    @property
    def fates(self) -> tuple[Fate, ...]:
        """What the patches belong to after each block of the compressed model."""
        assert self.after.final is not None
        return (*(block.fate for block in self.after.blocks[1:]), self.after.final)

    def groups(self, block: int) -> NDArray[np.int64]:
        """The token of the compressed model that each patch belongs to after its block of that number, [h, w]."""
        return self.after.on_grid(self.fates[block].owner).numpy()

    def story(self, patch: int) -> tuple[Turn, ...]:
        """What the blocks of the compressed model did to a patch; companions are patches, counted by rows."""
        prefix = self.after.prefix
        told = story(self.fates, prefix + patch)
        return tuple(replace(turn, companions=tuple(member - prefix for member in turn.companions)) for turn in told)

    def _after(self, view: View) -> Tensor | None:
        new = None if view.block is None else self.counterpart(view.block)
        if new is None or not self.after.blocks:
            return None
        head = view.head
        if isinstance(head, int):
            kept = self.origins[new].heads
            if head not in kept:
                return None
            head = kept.index(head)
        found = _of_block(self.after, new, head, view.patch)
        return found if view.patch is None or float(found.sum()) > 0 else None


def look(
    recipe: Recipe,
    image: Image.Image,
    images: str | None = None,
    report: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    *,
    weighted: bool = False,
) -> Gaze:
    """Show one image to a model and to what the recipe makes of it.

    Args:
        recipe: Its model is the one before.
        image: RGB.
        images: Where the recipe's steps find images, as for `context_for`.
        report: Told the share of the recipe that is done.
        cancelled: Asked often.
        weighted: Also differentiate the logit of the baseline's answer by all attention, for `View.weighted`.

    Raises:
        VitEdgeError: The model has no weights here, or a step cannot be carried out.
    """
    wants = preprocessing(recipe.model)
    ready = prepared(image, wants)
    baseline = load_trained(recipe.model)
    before = observe(baseline, ready)
    answer = int(before.logits.argmax()) if weighted else None
    if weighted:
        before = observe(baseline, ready, toward=answer)
    if not recipe.active:
        return gaze(before, before, None, as_seen(ready, wants))
    done = compress(recipe, context_for(recipe, images), report, cancelled)
    return gaze(before, observe(done.model, ready, toward=answer), done, as_seen(ready, wants))


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
    share = float((found * covered).sum() / _total(found))
    area = float(mask.float().mean())
    source = (
        "attention to each patch of this image times the share of the patch that the object's mask covers; even "
        f"attention would give {area:.1%}"
    )
    return Quantity.exact(min(share, 1.0), "share", source)


def overlap(first: Map, second: Map) -> Quantity:
    """How much of two maps coincides: the sum over patches of the smaller share."""
    shared = float(np.minimum(first / _total(first), second / _total(second)).sum())
    return Quantity.exact(
        min(shared, 1.0), "share", "this image: sum over patches of the smaller of both shares of attention"
    )


def _total(found: Map) -> float:
    return max(float(found.sum()), 1e-12)


def _whole(seen: Observation, view: View) -> Map | None:
    if not seen.blocks:
        return None
    if view.weighted:
        return _array(relevance_map(seen))
    found = rollout_map(seen, None if view.patch is None else one_patch(seen, view.patch))
    return _array(found) if float(found.sum()) > 0 else None


def _of_block(seen: Observation, block: int, head: Head, patch: int | None) -> Tensor:
    return attention_map(seen, block, head, None if patch is None else one_patch(seen, patch))


def _array(found: Tensor | None) -> Map | None:
    return None if found is None else found.numpy()
