"""What one model looks at over a set of images whose objects have exact masks, and how much that matters to it.

The map is attention rollout (Abnar and Zuidema, ACL 2020): of the maps that need no gradient it points best at the
object on the bundled base model, at 97 % of 500 images where chance is 17 %, and gradient-weighted rollout points no
better (benchmarks/what_broke.py prints them all).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from vitedge_core.datasets.batch import Batch
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.explain.crowd import MapsOf, rollouts
from vitedge_core.measure.erasing import STEPS, Erased, erase
from vitedge_core.measure.pointing import area, hits, mass_inside
from vitedge_core.preprocessing import Preprocessing

IMAGES = 500
CURVE_IMAGES = 64  # images whose patches are taken out and put back
_SEEN = 4 * (STEPS - 1) + 3  # times that the model sees each of them
_BATCH = 64
_MAP_BATCH = 16  # attention of a large network takes memory

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Looked:
    """What one model's maps did on n images, in order: pointed at the object or not, share of attention on it.

    areas: [n] share of the image that the object covers. erased: on the first images only.
    """

    where: str
    hits: Tensor
    mass: Tensor
    areas: Tensor
    erased: Erased | None


def why_not(images: LabelledImages) -> str | None:
    """None, or the sentence that says why it cannot be told of these images where their objects are."""
    if hasattr(images, "mask"):
        return None
    return (
        f"{images.title} has no masks of its objects, so nobody can say whether the model looks at them; the bundled "
        "digits have exact ones."
    )


def looked(  # noqa: PLR0917  what every measurement here takes
    model: nn.Module, images: LabelledImages, preprocessing: Preprocessing, limit: int, curve_images: int,
    report: Report = lambda share, sentence: None, cancelled: Cancel = lambda: False,
) -> Looked:  # fmt: skip
    """Maps of a model on the first `limit` images, and its confidence on altered copies of the first `curve_images`."""
    reason = why_not(images)
    if reason:
        raise VitEdgeError(reason)
    total = min(limit, len(images))
    maps_of: MapsOf | None = None
    seen: list[tuple[Tensor, Batch]] = []
    for batch in images.batches(preprocessing, limit, _BATCH):
        maps_of = maps_of or rollouts(model.eval(), batch.images)
        seen.append((_maps(maps_of, batch.images, cancelled), batch))
        done = sum(len(maps) for maps, _ in seen)
        report(min(1.0, done / (total + _SEEN * curve_images)), f"Where it looks on {total:,} images of {images.title}")
    maps, shown, masks = (torch.cat(parts) for parts in zip(*((m, b.images, b.masks) for m, b in seen), strict=True))
    few = min(curve_images, len(maps))

    def tell(share: float) -> None:
        if cancelled():
            raise Cancelled
        report((total + share * _SEEN * few) / (total + _SEEN * few), f"Taking patches out of {few:,} images")

    erased = _erased(model, shown[:few], maps[:few], tell) if few else None
    return Looked(images.title, hits(maps, masks), mass_inside(maps, masks), area(masks), erased)


_known: OrderedDict[tuple[object, ...], Looked] = OrderedDict()
_lock = threading.Lock()


def remembered(  # noqa: PLR0917  what `looked` takes
    name: str, model: nn.Module, images: LabelledImages, preprocessing: Preprocessing, limit: int, curve_images: int,
    report: Report = lambda share, sentence: None, cancelled: Cancel = lambda: False,
) -> Looked:  # fmt: skip
    """`looked` of an uncompressed model, done once."""
    key = (name, images.digest, limit, curve_images)
    with _lock:
        if key in _known:
            return _known[key]
    found = looked(model, images, preprocessing, limit, curve_images, report, cancelled)
    with _lock:
        _known[key] = found
        while len(_known) > 16:
            _known.popitem(last=False)
    return found


def _maps(maps_of: MapsOf, images: Tensor, cancelled: Cancel) -> Tensor:
    parts = []
    for part in images.split(_MAP_BATCH):
        if cancelled():
            raise Cancelled
        parts.append(maps_of(part))
    return torch.cat(parts)


def _erased(model: nn.Module, images: Tensor, maps: Tensor, tell: Callable[[float], None]) -> Erased:
    """`erase` in batches."""
    generator = torch.Generator().manual_seed(0)
    parts: list[Erased] = []
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        share = len(images[part]) / len(images)
        begun = start / len(images)
        parts.append(erase(model, images[part], maps[part], generator, lambda s, b=begun, w=share: tell(b + s * w)))
    return Erased(*(torch.cat([getattr(e, field.name) for e in parts]) for field in fields(Erased)))
