"""Does the model still look at the object? Pointing game, attention on the object, deletion and insertion.

For images whose objects have exact masks. The map is attention rollout (Abnar and Zuidema, ACL 2020): of all maps
tried on the bundled base model it points best (benchmarks/what_broke.py prints them all).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from vitedge_core import bootstrap
from vitedge_core.datasets.batch import Batch
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments.evaluation import GAZE
from vitedge_core.explain.crowd import MapsOf, rollouts
from vitedge_core.measure.accuracy import Outcome, difference
from vitedge_core.measure.erasing import STEPS, Erased, area_under, erase
from vitedge_core.measure.pointing import area, hits, mass_inside
from vitedge_core.preprocessing import Preprocessing

IMAGES = 500
CURVE_IMAGES = 128  # images whose patches are taken out and put back
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


@dataclass(frozen=True, slots=True)
class Pair:
    """A figure before and after, and the paired change, on n images."""

    n: int
    before: Quantity
    after: Quantity
    change: Quantity


@dataclass(frozen=True, slots=True)
class Curves:
    """Mean probability of a model's own answer while patches go or come, at each of `shares` of the patches.

    deletion, insertion, and the same in a random order: (before, after) each.
    """

    shares: tuple[float, ...]
    deletion: tuple[tuple[float, ...], tuple[float, ...]]
    insertion: tuple[tuple[float, ...], tuple[float, ...]]
    random_deletion: tuple[tuple[float, ...], tuple[float, ...]]
    random_insertion: tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class ObjectGaze:
    """Where two models look, on n images; the curves need fewer.

    chance: hit rate and share of attention of a map that knows nothing. margin: pointing hits above chance.
    hits, mass: pointing game and share of attention on the object. kept: mass after by mass before. deletion and
    insertion: areas under the curves, minus those of a random order: below 0 and above 0 when the map tells something.
    """

    n: int
    chance: Quantity
    hits: Pair
    margin: Pair
    mass: Pair
    kept: Quantity
    deletion: Pair
    insertion: Pair
    curves: Curves


def why_not(images: LabelledImages) -> str | None:
    """None, or the sentence that says why it cannot be told of these images where their objects are."""
    if hasattr(images, "mask"):
        return None
    return (
        f"{images.title} has no masks of its objects, so nobody can say whether the model looks at them; the bundled "
        "digits have exact ones."
    )


def object_gaze(
    name: str,
    before: nn.Module,
    after: nn.Module,
    images: LabelledImages,
    preprocessing: Preprocessing,
    *,
    limit: int = IMAGES,
    curve_images: int = CURVE_IMAGES,
    report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
) -> ObjectGaze:
    """Compare where two models look.

    Args:
        name: Of the uncompressed model; what it does is remembered, since every recipe is compared with it.
        before: The uncompressed model.
        after: The compressed one.
        images: With masks.
        preprocessing: What the models want.
        limit: Images at most.
        curve_images: Of these, how many for the curves.
        report: Told the share done and a sentence.
        cancelled: Asked often; true raises `Cancelled`.

    Raises:
        VitEdgeError: There are no masks, or a model has no map; the sentence says why.
    """

    def half(start: float) -> Report:
        return lambda share, sentence: report(start + share / 2, sentence)

    counts = (limit, curve_images)
    old = remembered(name, before, images, preprocessing, *counts, half(0.0), cancelled)
    new = looked(after, images, preprocessing, *counts, half(0.5), cancelled)
    assert old.erased is not None
    assert new.erased is not None
    n = len(old.hits)
    return ObjectGaze(
        n, bootstrap.mean(old.areas, "share", _told("area of the objects", old)),
        pointing(old, new), _margins(old, new), mass(old, new), kept(old, new),
        _areas(old, new, "deletion"), _areas(old, new, "insertion"), _curves(old.erased, new.erased),
    )  # fmt: skip


def figures(  # noqa: PLR0917  what `object_gaze` takes
    name: str, before: nn.Module, after: nn.Module, images: LabelledImages, preprocessing: Preprocessing, limit: int,
    report: Report = lambda share, sentence: None, cancelled: Cancel = lambda: False,
) -> tuple[dict[str, Quantity], dict[str, Quantity]]:  # fmt: skip
    """The figures of `GAZE` of two models, for an evaluation; arguments and errors are those of `object_gaze`."""
    old = remembered(name, before, images, preprocessing, limit, 0, report, cancelled)
    new = looked(after, images, preprocessing, limit, 0, report, cancelled)
    points, shares = pointing(old, new), mass(old, new)
    itself = Quantity.exact(1.0, "share", "the uncompressed model is its own measure")
    return (
        dict(zip(GAZE, (points.before, shares.before, itself), strict=True)),
        dict(zip(GAZE, (points.after, shares.after, kept(old, new)), strict=True)),
    )


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


def pointing(old: Looked, new: Looked) -> Pair:
    """Share of images whose map is brightest on the object, with Wilson intervals and the paired difference."""
    before, after = (_outcome(looked) for looked in (old, new))
    return Pair(before.n, _pointed(before), _pointed(after), difference(before, after))


def mass(old: Looked, new: Looked) -> Pair:
    """Share of the attention on patches that falls on the object, mean over images."""
    return _means(old.mass, new.mass, _told("share of rollout attention on the object", old))


def kept(old: Looked, new: Looked) -> Quantity:
    """Attention on the object after, as a share of that before, on the same images."""
    source = _told("attention on the object, as a share of what the uncompressed model has there", old)
    return replace(bootstrap.ratio(new.mass, old.mass, source), unit="share")


def _margins(old: Looked, new: Looked) -> Pair:
    """Pointing hits above chance: minus the share of the image that the object covers."""
    source = _told("pointing hits minus the share of the image that the object covers", old)
    return _means(old.hits.float() - old.areas, new.hits.float() - new.areas, source)


def _areas(old: Looked, new: Looked, kind: str) -> Pair:
    """Area under the curve minus that under the curve of a random order of the same patches."""
    assert old.erased is not None
    assert new.erased is not None
    source = f"area under the {kind} curve minus that of a random order, {len(old.erased.deletion):,} images"
    return _means(_gain(old.erased, kind), _gain(new.erased, kind), f"{source} of {old.where}")


def _gain(erased: Erased, kind: str) -> Tensor:
    return area_under(getattr(erased, kind)) - area_under(getattr(erased, f"random_{kind}"))


def _means(before: Tensor, after: Tensor, source: str) -> Pair:
    return Pair(
        len(before), bootstrap.mean(before, "share", source), bootstrap.mean(after, "share", source),
        bootstrap.mean(after - before, "share", f"paired change of the {source}"),
    )  # fmt: skip


def _told(what: str, looked: Looked) -> str:
    return f"{what}, {len(looked.hits):,} images of {looked.where}"


def _outcome(looked: Looked) -> Outcome:
    """Pointing as answers that are right or wrong, so that shares and differences are those of accuracies."""
    return Outcome(looked.hits.long(), looked.hits, looked.mass, looked.where)


def _pointed(outcome: Outcome) -> Quantity:
    share = outcome.top1
    source = (
        f"the brightest point of the rollout map lies on the object in {outcome.right:,} of {outcome.n:,} images of "
        f"{outcome.where}; 95 % Wilson interval"
    )
    return replace(share, source=source)


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


def _curves(before: Erased, after: Erased) -> Curves:
    pairs = {
        field.name: tuple(tuple(getattr(erased, field.name).mean(0).tolist()) for erased in (before, after))
        for field in fields(Erased)
    }
    return Curves(tuple(step / STEPS for step in range(STEPS + 1)), **pairs)  # type: ignore[arg-type]
