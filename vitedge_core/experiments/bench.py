"""Recipes in engines, timed in turn with their baseline: the uncompressed model in eager float32.

An engine that is missing, refuses, fails or lacks memory has a sentence in its row, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from vitedge_core.backends import BASELINE, engine
from vitedge_core.backends.base import Runner
from vitedge_core.compress import plan_recipe
from vitedge_core.datasets.encoded import decoder, encoded
from vitedge_core.datasets.sets import BATCH, LabelledImages
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments import bench_store
from vitedge_core.experiments.bench_rows import BenchRow, Circumstances, Setting, Speed
from vitedge_core.experiments.engines import Built, built, example_of, images_of, opened, told
from vitedge_core.experiments.evaluate import section
from vitedge_core.experiments.runs import machine, versions
from vitedge_core.measure.accuracy import difference
from vitedge_core.measure.engine_agreement import Answers, agree, answers
from vitedge_core.measure.latency import check_threads, compare, load_now
from vitedge_core.measure.machine import governor, processor_name
from vitedge_core.measure.timings import Timings
from vitedge_core.models.load import fingerprint, preprocessing
from vitedge_core.recipe import Recipe

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]
USUAL = ("eager", "onnxruntime", "openvino", "openvino-int8")  # built in seconds, and the product's own
SECONDS = 2.0  # of timing for each engine beside the baseline
_BASE = "the baseline"


@dataclass(frozen=True, slots=True)
class Request:
    """What to benchmark: every recipe in every engine at every setting.

    images: to calibrate on, to decode and to compare answers on; None for each model's own. limit: images of the
    agreement, 0 for no agreement, None for all. seconds: of timing for each engine.
    """

    recipes: tuple[Recipe, ...]
    engines: tuple[str, ...]
    settings: tuple[Setting, ...] = (Setting(),)
    images: str | None = None
    limit: int | None = 0
    seconds: float = SECONDS


def bench(
    request: Request,
    *,
    again: bool = False,
    report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
) -> tuple[BenchRow, ...]:
    """Build, time and compare; a row for each recipe, engine and setting, in that order.

    Args:
        request: What to measure.
        again: Measure even what is known on this machine with these libraries.
        report: Called with the share done in 0..1 and a sentence.
        cancelled: Asked often. What was finished until then is kept.

    Raises:
        VitEdgeError: Nobody knows an engine or a model, a recipe has a step that cannot be carried out, or the number
            of threads is out of range.
        Cancelled: `cancelled` said so.
    """
    _checked(request)
    rows: list[BenchRow] = []
    for number, recipe in enumerate(request.recipes):
        low, high = number / len(request.recipes), (number + 1) / len(request.recipes)
        rows += _of_recipe(recipe, request, again, section(report, low, high), cancelled)
    report(1.0, "Done.")
    return tuple(rows)


def circumstances(model: str) -> Circumstances:
    """This machine, now."""
    return Circumstances(
        machine(), processor_name(), governor(), load_now(), versions(), fingerprint(model), time.time()
    )  # fmt: skip


def _checked(request: Request) -> None:
    """Raise what is wrong with the request itself, before anything is built."""
    for key in request.engines:
        engine(key)
    for setting in request.settings:
        check_threads(setting.threads)
    for recipe in request.recipes:
        problems = plan_recipe(recipe).problems
        if problems:
            raise VitEdgeError(next(iter(problems.values())))


@dataclass(slots=True)
class _Job:
    """One recipe's work: what was asked, and what is shared by its rows."""

    recipe: Recipe
    request: Request
    images: LabelledImages | None
    report: Report
    cancelled: Cancel
    known: dict[str, Answers] = field(default_factory=dict)


def known(request: Request) -> tuple[BenchRow, ...] | None:
    """The rows, if every one was measured before on this machine; None otherwise. Measures nothing.

    Raises:
        VitEdgeError: Nobody knows an engine or a model, or there are no such images.
    """
    rows: list[BenchRow] = []
    for recipe in request.recipes:
        wanted, n = _wanted(recipe, request, images_of(recipe.model, request.images))
        for row in wanted.values():
            found = bench_store.find(row, n)
            if found is None:
                return None
            rows.append(found)
    return tuple(rows)


Place = tuple[str, Setting]


def _wanted(recipe: Recipe, request: Request, images: LabelledImages | None) -> tuple[dict[Place, BenchRow], int]:
    """Empty rows of a recipe, and the number of images of their agreement."""
    tested = images.unseen() if images is not None else None  # engines calibrate on the rest
    blank = BenchRow(recipe, "", Setting(), circumstances(recipe.model), images=tested.digest if tested else "")
    rows = {
        (key, setting): replace(blank, engine=key, setting=setting)
        for key in request.engines for setting in request.settings
    }  # fmt: skip
    n = min(request.limit or len(tested), len(tested)) if tested is not None and request.limit != 0 else 0
    return rows, n


def _of_recipe(recipe: Recipe, request: Request, again: bool, report: Report, cancelled: Cancel) -> list[BenchRow]:
    """Every row of a recipe: those that are known from the store, the others measured and kept."""
    images = images_of(recipe.model, request.images)
    rows, n = _wanted(recipe, request, images)
    found = {} if again else {place: bench_store.find(row, n) for place, row in rows.items()}
    missing = {place: row for place, row in rows.items() if found.get(place) is None}
    measured = {}
    if missing:
        measured = _measured(missing, _Job(recipe, request, images, report, cancelled), n)
    report(1.0, "Measured." if missing else "Measured before.")
    return [measured.get(place) or found[place] or rows[place] for place in rows]


def _measured(rows: Mapping[Place, BenchRow], job: _Job, n: int) -> dict[Place, BenchRow]:
    """The rows with figures, or with the sentence that says why there are none."""
    keys = tuple(dict.fromkeys(key for key, _ in rows))
    base, problem = _tried(lambda: built(job.recipe.baseline, BASELINE.key, job.images, cancelled=job.cancelled))
    if base is None:
        return {place: replace(row, problem=problem) for place, row in rows.items()}
    made, problems = _built(keys, job, section(job.report, 0.0, 0.4))
    about = {}
    for number, (key, one) in enumerate(made.items()):
        part = section(job.report, 0.4 + 0.2 * number / len(made), 0.4 + 0.2 * (number + 1) / len(made))
        about[key], problem = _tried(lambda one=one, part=part: _described(one, base, job, n, part))
        if about[key] is None:
            problems[key] = problem
    done = {place: replace(row, problem=problems.get(place[0], "")) for place, row in rows.items()}
    settings = tuple(dict.fromkeys(setting for _, setting in rows))
    for number, setting in enumerate(settings):
        usable = {k: one for k, one in made.items() if k not in problems and (k, setting) in rows}
        part = section(job.report, 0.6 + 0.4 * number / len(settings), 0.6 + 0.4 * (number + 1) / len(settings))
        for key, figures in _timed(usable, base, setting, job, part).items():
            row = replace(done[key, setting], **(about.get(key) or {}), **figures)
            done[key, setting] = row
            if row.speed is not None:
                bench_store.record(row)
    return done


def _tried(work: Callable[[], Any]) -> tuple[Any, str]:
    """The result, or None and the sentence that says what went wrong."""
    try:
        return work(), ""
    except Cancelled:
        raise
    except VitEdgeError as error:
        return None, str(error)


def _built(keys: Sequence[str], job: _Job, report: Report) -> tuple[dict[str, Built], dict[str, str]]:
    made: dict[str, Built] = {}
    problems: dict[str, str] = {}
    for number, key in enumerate(keys):
        part = section(report, number / len(keys), (number + 1) / len(keys))
        one, problem = _tried(
            lambda key=key, part=part: built(job.recipe, key, job.images, report=part, cancelled=job.cancelled)
        )
        if one is None:
            problems[key] = problem
        else:
            made[key] = one
    return made, problems


def _described(one: Built, base: Built, job: _Job, n: int, report: Report) -> dict[str, Any]:
    """What belongs to the engine's form of the recipe at any setting: its building, its facts, its answers."""
    seconds = Quantity.exact(one.artefact.seconds, "s", f"building once for {one.engine.title} on this machine")
    size = Quantity.exact(one.artefact.bytes, "byte", f"the model as a file of {one.engine.title}")
    about = {"build_seconds": seconds, "bytes": size, "facts": one.artefact.facts, "own_step": one.own_step or ""}
    if not n or job.images is None:
        return about
    eager = built(job.recipe, BASELINE.key, job.images, cancelled=job.cancelled)
    before = _answers("baseline", base, job, n, section(report, 0.0, 0.3))
    reference = _answers("eager", eager, job, n, section(report, 0.3, 0.6)) if job.recipe.active else before
    ours = reference if one.engine == BASELINE else _answers(one.engine.key, one, job, n, section(report, 0.6, 1.0))
    change = difference(before.outcome, ours.outcome)
    return {**about, "agreement": agree(reference, ours), "change": change}


def _answers(name: str, one: Built, job: _Job, n: int, report: Report) -> Answers:
    """Asked once for all engines that are compared with them."""
    assert job.images is not None
    if name not in job.known:
        # an engine may scale a batch as a whole, so it is asked as it is timed; PyTorch answers each image alike
        batch = BATCH if one.engine == BASELINE else max(setting.batch for setting in job.request.settings)
        runner = opened(one, max(setting.threads for setting in job.request.settings), batch)
        prepared = preprocessing(job.recipe.model)
        with told(one.engine.title, "answer images"):
            job.known[name] = answers(runner, job.images.unseen(), prepared, n, report=report, cancelled=job.cancelled)
    return job.known[name]


def _timed(
    made: Mapping[str, Built], base: Built, setting: Setting, job: _Job, report: Report
) -> dict[str, dict[str, Any]]:
    """Figures of one setting by engine, or the problem."""
    figures: dict[str, dict[str, Any]] = {}
    runners: dict[str, Runner] = {}
    for key, one in made.items():
        if one.engine == BASELINE and not job.recipe.active:
            continue  # it is the baseline itself
        runner, problem = _tried(lambda one=one: opened(one, setting.threads, setting.batch))
        if runner is None:
            figures[key] = {"problem": problem}
        else:
            runners[key] = runner
    if len(figures) == len(made):
        return figures

    def measure() -> Timings:
        subjects = {_BASE: opened(base, setting.threads, setting.batch), **runners}
        with told("One of these engines", "be timed"), _passes(subjects, base, setting, job) as (calls, example, what):
            return compare(
                calls, example, setting.threads, seconds=job.request.seconds * len(subjects), what=what,
                report=report, cancelled=job.cancelled,
            )  # fmt: skip

    timings, problem = _tried(measure)
    for key in made.keys() - figures.keys():
        figures[key] = {"problem": problem} if timings is None else _speed(timings, key)
    return figures


@contextmanager
def _passes(
    runners: Mapping[str, Runner], base: Built, setting: Setting, job: _Job
) -> Iterator[tuple[Mapping[str, Callable[[Any], object]], Any, str]]:
    """What is timed, what it gets, and what that is in words."""
    if not setting.end_to_end:
        yield runners, example_of(base.done.last, setting.batch), "one pass of the model"
        return
    if job.images is None:
        raise VitEdgeError(f"There are no images for {job.recipe.model} to decode; name a folder of class folders.")
    decode = decoder(preprocessing(job.recipe.model))
    calls = {name: lambda files, run=runner: run(decode(files)) for name, runner in runners.items()}
    yield calls, encoded(job.images, setting.batch), "one pass from the encoded file to the logits"


def _speed(timings: Timings, key: str) -> dict[str, Any]:
    """The figures of an engine; a key that was not timed is the baseline's own."""
    if key not in timings.samples:
        one = Quantity.exact(1.0, "ratio", "it is the baseline itself", Evidence.MEASURED)
        ratios, key = (one, one), _BASE
    else:
        ratios = timings.ratio(key, _BASE), timings.cpu_ratio(key, _BASE)
    speed = Speed(timings.median(key), timings.slow(key), timings.cpu(key), timings.median(_BASE), *ratios)
    return {"speed": speed, "warning": timings.warning or ""}
