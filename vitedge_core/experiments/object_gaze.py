"""Does the model still look at the object? Pointing game, attention on the object, deletion and insertion, compared."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from torch import Tensor, nn

from vitedge_core import bootstrap
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.evidence import Quantity
from vitedge_core.experiments.evaluation import GAZE
from vitedge_core.experiments.looking import CURVE_IMAGES, IMAGES, Cancel, Looked, Report, looked, remembered
from vitedge_core.measure.accuracy import Outcome, difference
from vitedge_core.measure.erasing import STEPS, Erased, area_under
from vitedge_core.preprocessing import Preprocessing


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


def _curves(before: Erased, after: Erased) -> Curves:
    pairs = {
        field.name: tuple(tuple(getattr(erased, field.name).mean(0).tolist()) for erased in (before, after))
        for field in fields(Erased)
    }
    return Curves(tuple(step / STEPS for step in range(STEPS + 1)), **pairs)  # type: ignore[arg-type]
