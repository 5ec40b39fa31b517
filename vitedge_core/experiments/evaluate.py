"""Everything that is known of a recipe once it is carried out: costs, accuracy against the baseline, latency."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from vitedge_core.backends import BASELINE
from vitedge_core.compress import (
    Compressed,
    compress,
    context_for,
    default_images,
    load_trained,
    matching,
    technique_of,
)
from vitedge_core.cost.report import cost
from vitedge_core.datasets.sets import LabelledImages, open_images
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments import looking, object_gaze
from vitedge_core.experiments.evaluation import COSTS, QUICK, Evaluation, Gate
from vitedge_core.measure import accuracy
from vitedge_core.measure.accuracy import Outcome, difference
from vitedge_core.measure.latency import check_threads, compare
from vitedge_core.measure.memory import peak_memory
from vitedge_core.models.load import preprocessing
from vitedge_core.models.trace import trace
from vitedge_core.plan import Plan
from vitedge_core.recipe import Recipe
from vitedge_core.techniques.base import Context

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]


def costs(plan: Plan) -> dict[str, Quantity]:
    """Parameters, MACs, bytes of the weights file and peak memory of one image."""
    report = cost(plan)
    return {name: getattr(report, name) for name in COSTS}


def evaluate(
    recipe: Recipe,
    images: str | LabelledImages | None = None,
    limit: int | None = QUICK,
    latency: bool = True,
    *,
    gaze: bool = False,
    gate: Gate | None = None,
    report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
    threads: int = 1,
    batch: int = 1,
    engine: str = BASELINE.key,
) -> Evaluation:
    """Carry out a recipe and measure the result beside its baseline, the uncompressed model in eager float32.

    A recipe that calibrates or trains on a folder is tested on the half of the folder that it never saw.

    Args:
        recipe: What to measure; without active steps the baseline is compared with itself.
        images: A set or what `open_images` takes; by default the model's own.
        limit: Images at most, None for all.
        latency: Whether to time both models and to measure their memory.
        gaze: Whether to measure where both look, if the images have masks of their objects.
        gate: Decides whether the images are worth their time, and after how many it is known well enough; an engine
            other than the eager one answers all of them.
        report: Called with the share done in 0..1 and a sentence.
        cancelled: Asked often; true raises `Cancelled`.
        threads: Of the timed passes.
        batch: Images in a timed pass.
        engine: Key of the engine that the compressed model runs in; where it looks is known of the eager one only.

    Raises:
        VitEdgeError: No weights, no images, images of other classes, a step that cannot be carried out, or an engine
            that is missing, refuses the recipe or fails.
        Unneeded: The gate said so.
    """
    if engine != BASELINE.key:
        from vitedge_core.experiments.in_engine import Setting, evaluate_in  # it builds on this module

        setting = Setting(threads, batch, report, cancelled, gate)
        return evaluate_in(engine, recipe, images, limit, setting, latency=latency)
    check_threads(threads)
    opened = images_for(recipe.model, images)
    context = context_for(recipe, opened)
    done = compress(recipe, context, section(report, 0.0, 0.4), cancelled)
    tested, prepared = tested_on(recipe, opened), preprocessing(recipe.model)
    base = baseline_outcome(recipe.model, tested, limit, report=section(report, 0.4, 0.6), cancelled=cancelled)
    ours = base
    if gate is not None:
        gate.before(done.last, base.top1)
    if recipe.active:
        part = section(report, 0.6, 0.75)
        ours = accuracy.evaluate(
            done.model, tested, prepared, limit, rungs=gate.rungs if gate else (), enough=_enough(gate, base),
            report=part, cancelled=cancelled,
        )  # fmt: skip
        base = base.first(ours.n)
    baseline, compressed = costs(done.plans[0]), costs(done.last)
    ratio, notes = None, notes_on(opened, tested)
    if gaze and can_gaze(recipe.model, tested):
        count = min(limit or looking.IMAGES, looking.IMAGES)
        before, after, remarks = _gazes(done, tested, count, report=section(report, 0.75, 0.8), cancelled=cancelled)
        baseline, compressed, notes = baseline | before, compressed | after, notes + remarks
    if latency:
        example, part = next(iter(tested.batches(prepared, batch, batch))).images, section(report, 0.8, 1.0)
        before, after, ratio, remarks = _stopwatch(done, context, example, threads, report=part, cancelled=cancelled)
        baseline, compressed, notes = baseline | before, compressed | after, notes + remarks
    rounded = "values rounded to their bits, computed in float32" if done.last.quantised else ""
    baseline["accuracy"], compressed["accuracy"] = base.top1, _remarked(ours.top1, rounded)
    change = difference(base, ours) if recipe.active else Quantity.exact(0, "share", "the same model")
    report(1.0, "Done.")
    return Evaluation(recipe, opened.key, tested.digest, ours.n, baseline, compressed, change, ratio, notes)


def _enough(gate: Gate | None, base: Outcome) -> Callable[[Outcome], bool]:
    """Whether the gate has seen enough of a model's answers, which it compares with the baseline's to the same."""

    def enough(ours: Outcome) -> bool:
        assert gate is not None  # without one there are no rungs
        return gate.enough(ours.top1, difference(base.first(ours.n), ours), ours.n)

    return enough


def section(report: Report, low: float, high: float) -> Report:
    """Progress of a part of the work as a share of all of it."""
    return lambda share, sentence: report(low + (high - low) * share, sentence)


def images_for(model: str, images: str | LabelledImages | None = None) -> LabelledImages:
    """Images a model can be measured on: these, or its own by default.

    Raises:
        VitEdgeError: There are none, or they are of other classes.
    """
    where = images if images is not None else default_images(model)
    if where is None:
        raise VitEdgeError(
            f"There are no images for {model} here; name a folder of class folders, or set VITEDGE_IMAGES to one."
        )
    return matching(model, open_images(where) if isinstance(where, str) else where)


def tested_on(recipe: Recipe, images: LabelledImages, engine: str = BASELINE.key) -> LabelledImages:  # noqa: PT028  no test
    """The images of the set that the recipe is tested on: those that nothing calibrates or trains on.

    Its steps may do so, and every engine but the eager one.
    """
    steps = map(technique_of, recipe.active)
    if engine != BASELINE.key:
        return images.unseen()
    return images.unseen() if any(step.card.calibrates or step.card.trains for step in steps) else images


def notes_on(images: LabelledImages, tested: LabelledImages) -> tuple[str, ...]:
    """What a reader must know of the images."""
    notes: tuple[str, ...] = ()
    if images.skipped:
        notes += (f"{images.skipped:,} files of {images.title} are no images and were skipped.",)
    if len(tested) < len(images):
        share = f"{len(tested):,} of the {len(images):,} images of {images.title}"
        notes += (f"Only {share} are for testing; calibration and training take {images.calibration_source}.",)
    return notes


_outcomes: OrderedDict[tuple[str, str, int | None], Outcome] = OrderedDict()
_lock = threading.Lock()


def baseline_outcome(
    name: str, images: LabelledImages, limit: int | None, *, report: Report, cancelled: Cancel
) -> Outcome:  # fmt: skip
    """What the uncompressed model answers; remembered, since every recipe of a model is compared with it."""
    key = (name, images.digest, limit)
    with _lock:
        if key in _outcomes:
            _outcomes.move_to_end(key)
            return _outcomes[key]
    outcome = accuracy.evaluate(
        load_trained(name), images, preprocessing(name), limit, report=report, cancelled=cancelled
    )
    with _lock:
        _outcomes[key] = outcome
        while len(_outcomes) > 64:
            _outcomes.popitem(last=False)
    return outcome


def can_gaze(model: str, images: LabelledImages) -> bool:
    """Whether it can be measured if a model looks at the objects: it has attention, and they have masks."""
    return bool(trace(model).blocks) and looking.why_not(images) is None


def _gazes(
    done: Compressed, images: LabelledImages, count: int, *, report: Report, cancelled: Cancel
) -> tuple[dict[str, Quantity], dict[str, Quantity], tuple[str, ...]]:
    """Where the baseline and the compressed model look; a sentence instead where there is no map of it."""
    name = done.recipe.model
    try:
        found = object_gaze.figures(
            name, load_trained(name), done.model, images, preprocessing(name), count, report, cancelled
        )
    except Cancelled:
        raise
    except VitEdgeError as reason:
        return {}, {}, (str(reason),)
    return *found, ()


def _timed(done: Compressed, context: Context, cancelled: Cancel) -> tuple[nn.Module, str]:
    """The model whose latency stands for the compressed one, and what must be said of it.

    Rounding to few bits in float32 costs time that no real kernel would take, so a quantised recipe is timed by the
    float model of the same shapes: the recipe without the steps that leave every shape as it is.
    """
    if not done.last.quantised:
        return done.model, "zeros are multiplied like any weight" if done.last.zeros else ""
    shaping = [
        step for step, before, after in zip(done.recipe.active, done.plans, done.plans[1:], strict=False)
        if _shape(before) != _shape(after)
    ]  # fmt: skip
    twin = compress(replace(done.recipe, steps=tuple(shaping)), context, cancelled=cancelled)
    if _shape(twin.last) != _shape(done.last):
        return done.model, "with the rounding to few bits computed in float32, so an upper bound"
    return twin.model, "float32 kernels; the bits bring no speed here"


def _shape(plan: Plan) -> tuple[object, ...]:
    return plan.macs, plan.params, plan.blocks


def _stopwatch(
    done: Compressed, context: Context, example: Tensor, threads: int, *, report: Report, cancelled: Cancel
) -> tuple[dict[str, Quantity], dict[str, Quantity], Quantity, tuple[str, ...]]:
    """Latency and measured memory of the baseline and of the compressed model, their ratio, and what to know of it."""
    baseline = load_trained(done.recipe.model)
    timed, remark = _timed(done, context, cancelled)
    timings = compare({"baseline": baseline, "compressed": timed}, example, threads, report=report, cancelled=cancelled)

    def figures(name: str, model: nn.Module, remark: str) -> dict[str, Quantity]:
        measured = {"latency_seconds": timings.median(name), "measured_memory_bytes": peak_memory(model, example)}
        return {key: _remarked(quantity, remark) for key, quantity in measured.items()}

    ratio = _remarked(timings.ratio("compressed", "baseline"), remark)
    notes = (f"Latency: {remark}." if remark else "", timings.warning or "")
    return figures("baseline", baseline, ""), figures("compressed", timed, remark), ratio, tuple(filter(None, notes))


def _remarked(quantity: Quantity, remark: str) -> Quantity:
    return replace(quantity, source=f"{quantity.source}; {remark}") if remark else quantity
