"""A recipe measured in an engine: latency and accuracy of what really runs, beside the eager float32 baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vitedge_core.backends import BASELINE
from vitedge_core.backends.base import Runner
from vitedge_core.datasets.sets import BATCH, LabelledImages
from vitedge_core.evidence import Quantity
from vitedge_core.experiments.engines import Built, built, example_of, opened, told
from vitedge_core.experiments.evaluate import baseline_outcome, costs, images_for, notes_on, section, tested_on
from vitedge_core.experiments.evaluation import Evaluation, Gate
from vitedge_core.measure.accuracy import difference
from vitedge_core.measure.engine_agreement import Answers, EngineAgreement, agree, answers
from vitedge_core.measure.latency import check_threads, compare
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe

Report = Callable[[float, str], None]
Figures = dict[str, Quantity]


@dataclass(frozen=True, slots=True)
class Setting:
    """How passes are timed, and what is asked for on the way. gate: says whether the images are worth their time."""

    threads: int
    batch: int
    report: Report
    cancelled: Callable[[], bool]
    gate: Gate | None = None


def evaluate_in(
    key: str, recipe: Recipe, images: str | LabelledImages | None, limit: int | None, setting: Setting, *, latency: bool
) -> Evaluation:
    """Build the recipe for an engine and measure what it made.

    The images are those that neither a step nor the engine calibrates on. Images are answered in batches as they are
    timed, since an engine may scale a batch as a whole.

    Args:
        key: Of the engine, not the eager one.
        recipe: What to measure.
        images: A set or what `open_images` takes; by default the model's own.
        limit: Images at most, None for all.
        setting: Threads and batch of the timed passes, progress, cancelling, and the gate, which is only asked before
            the images: an engine answers all of them.
        latency: Whether to time the engine and the baseline in turn.

    Raises:
        VitEdgeError: The engine is missing, refuses the recipe or fails; or as for `evaluate`.
        Unneeded: The gate said so.
        Cancelled: `setting.cancelled` said so.
    """
    check_threads(setting.threads)
    report, cancelled = setting.report, setting.cancelled
    chosen = images_for(recipe.model, images)
    tested = tested_on(recipe, chosen, key)
    made = built(recipe, key, chosen, report=section(report, 0.0, 0.5), cancelled=cancelled)
    runner = opened(made, setting.threads, setting.batch)
    base = baseline_outcome(recipe.model, tested, limit, report=section(report, 0.5, 0.55), cancelled=cancelled)
    if setting.gate is not None:
        setting.gate.before(made.done.last, base.top1)
    eager = built(recipe, BASELINE.key, chosen, cancelled=cancelled)
    reference = _asked(
        opened(eager, 1, BATCH), recipe, tested, limit, replace(setting, report=section(report, 0.55, 0.65))
    )
    with told(made.engine.title, "answer images"):
        ours = _asked(runner, recipe, tested, limit, replace(setting, report=section(report, 0.65, 0.8)))
    found = agree(reference, ours)
    baseline, compressed = costs(made.done.plans[0]), costs(made.done.last)
    compressed |= _of_artefact(made, found)
    baseline |= {"accuracy": base.top1, "artefact_bytes": _eager_bytes(recipe, chosen, cancelled)}
    ratio, warning = None, ""
    if latency:
        before, after, ratio, warning = _timed(made, runner, chosen, replace(setting, report=section(report, 0.8, 1.0)))
        baseline["latency_seconds"], compressed["latency_seconds"] = before, after
    notes = (*notes_on(chosen, tested), *_notes(made, found), *filter(None, (warning,)))
    change = difference(base, ours.outcome)
    report(1.0, "Done.")
    return Evaluation(recipe, chosen.key, tested.digest, base.n, baseline, compressed, change, ratio, notes)


def _asked(runner: Runner, recipe: Recipe, images: LabelledImages, limit: int | None, setting: Setting) -> Answers:
    prepared = preprocessing(recipe.model)
    return answers(runner, images, prepared, limit, report=setting.report, cancelled=setting.cancelled)


def _of_artefact(made: Built, found: EngineAgreement) -> Figures:
    """What only a recipe in an engine has: its file, its building, its agreement with the eager model."""
    title, artefact = made.engine.title, made.artefact
    accuracy = replace(found.accuracy, source=f"{found.accuracy.source}; answered by {title}")
    return {
        "accuracy": accuracy,
        "eager_accuracy": found.eager,
        "same_answers": found.same,
        "logits_error": found.error,
        "artefact_bytes": Quantity.exact(artefact.bytes, "byte", f"the model as a file of {title}"),
        "build_seconds": Quantity.exact(artefact.seconds, "s", f"building it once for {title} on this machine"),
    }


def _eager_bytes(recipe: Recipe, images: LabelledImages, cancelled: Callable[[], bool]) -> Quantity:
    size = built(recipe.baseline, BASELINE.key, images, cancelled=cancelled).artefact.bytes
    return Quantity.exact(size, "byte", "weights and statistics of the uncompressed model in float32")


def _timed(
    made: Built, runner: Runner, images: LabelledImages, setting: Setting
) -> tuple[Quantity, Quantity, Quantity, str]:
    """Latency of the uncompressed model in eager float32 and of the engine, in turn; their ratio; a warning."""
    base = built(made.done.recipe.baseline, BASELINE.key, images, cancelled=setting.cancelled)
    subjects = {"baseline": opened(base, setting.threads, setting.batch), "compressed": runner}
    with told(made.engine.title, "be timed"):
        timings = compare(
            subjects, example_of(made.done.last, setting.batch), setting.threads, report=setting.report,
            cancelled=setting.cancelled,
        )  # fmt: skip
    medians = timings.median("baseline"), timings.median("compressed")
    ratio = timings.ratio("compressed", "baseline")
    said = [
        f"{BASELINE.title}, uncompressed",
        made.engine.title,
        f"{made.engine.title} by uncompressed {BASELINE.title}",
    ]
    before, after, paired = (
        replace(figure, source=f"{figure.source}; {words}")
        for figure, words in zip((*medians, ratio), said, strict=True)
    )
    return before, after, paired, timings.warning or ""


def _notes(made: Built, found: EngineAgreement) -> tuple[str, ...]:
    """What really runs, what the engine did to the numbers by itself, and whether that shows in the answers."""
    notes = (f"{made.engine.title}: {'; '.join(made.artefact.facts)}.",) if made.artefact.facts else ()
    if made.own_step:
        notes += (f"Last step, by the engine: {made.own_step}",)
    if found.flagged:
        notes += (f"{made.engine.title} changes more answers than the accuracy of so many images is known to.",)
    return notes
