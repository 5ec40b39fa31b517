"""Measured runs as the points of one chart: the recipes and their baselines, each once, and who is on the front."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.evaluation import GAZE
from vitedge_core.experiments.pareto import front, knee
from vitedge_core.experiments.runs import Run
from vitedge_core.recipe import Recipe

GAINS = ("accuracy", *GAZE)  # what a chart can show upwards: the more the better
COSTS = ("macs", "params", "weight_bytes", "peak_memory_bytes", "latency_seconds")


@dataclass(frozen=True, slots=True)
class Point:
    """A recipe: its cost, what it is good for, its accuracy on `n` images. `knee`: where the front bends most."""

    recipe: Recipe
    cost: Quantity
    gain: Quantity
    accuracy: Quantity
    n: int
    on_front: bool = False
    knee: bool = False

    @property
    def key(self) -> str:
        """Names the recipe."""
        return self.recipe.digest


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images that runs were measured on; accuracies on different ones are never compared."""

    digest: str
    title: str
    runs: int


def image_sets(runs: Iterable[Run]) -> tuple[ImageSet, ...]:
    """The image sets of these runs, the one with most runs first."""
    found: dict[str, ImageSet] = {}
    for run in runs:
        digest = run.evaluation.digest
        found[digest] = ImageSet(digest, run.title, found[digest].runs + 1 if digest in found else 1)
    return tuple(sorted(found.values(), key=lambda images: -images.runs))


def points(runs: Sequence[Run], cost: str, gain: str = "accuracy") -> tuple[Point, ...]:
    """The points of a chart, in order of cost. A recipe measured more than once counts with most images.

    Args:
        runs: On one image set.
        cost: One of `COSTS`; a latency needs runs that were timed on this machine.
        gain: One of `GAINS`; runs that do not know it are left out.
    """
    best: dict[str, Point] = {}
    known = [run for run in runs if gain in run.evaluation.compressed]
    for point in _candidates(known, cost, gain):
        if point.key not in best or point.n >= best[point.key].n:
            best[point.key] = point
    found = sorted(best.values(), key=lambda point: (point.cost.value, -point.gain.value))
    plane = [(point.cost.value, -point.gain.value) for point in found]
    bend = knee(plane)
    return tuple(
        replace(point, on_front=on, knee=number == bend)
        for number, (point, on) in enumerate(zip(found, front(plane), strict=True))
    )


def csv_text(runs: Iterable[Run]) -> str:
    """The runs as a table: recipe, circumstances, and every figure in seconds, bytes and counts with its interval."""
    rows = [flat(run) for run in runs]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def flat(run: Run) -> dict[str, object]:
    """A run as one row of a table: texts and plain numbers by column."""
    measured = run.evaluation
    row: dict[str, object] = {
        "model": run.recipe.model, "recipe": json.dumps(run.recipe.to_dict(), separators=(",", ":")),
        "link_token": run.recipe.to_token(), "images": run.title, "images_digest": measured.digest, "n": measured.n,
        "measured_at": datetime.fromtimestamp(run.time, UTC).isoformat(timespec="seconds"), "machine": run.machine,
        "engine": run.engine, "weights": run.weights, "origin": run.origin,
    }  # fmt: skip
    figures = {**measured.compressed, "accuracy_difference": measured.difference}
    if measured.ratio is not None:
        figures["latency_ratio"] = measured.ratio
    for name, figure in figures.items():
        row |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
        row |= {f"{name}_evidence": figure.evidence.value}
    return row | {f"library_{name}": number for name, number in run.versions}


def _candidates(runs: Sequence[Run], cost: str, gain: str) -> Iterable[Point]:
    if cost == "latency_seconds":
        yield from _timed([run for run in runs if run.timed_here], gain)
        return
    for run in runs:
        measured = run.evaluation
        yield _point(run.recipe.baseline, measured.baseline, measured.baseline[cost], measured.n, gain)
        yield _point(run.recipe, measured.compressed, measured.compressed[cost], measured.n, gain)


def _timed(runs: Sequence[Run], gain: str) -> Iterable[Point]:
    """Latencies that can be compared although they were taken at different times.

    Each run timed its baseline in turns with it, so its ratio holds whatever the machine was doing; the ratio times the
    baseline's median over all runs is a latency on a common scale.
    """
    for model in {run.recipe.model for run in runs}:
        own = [run for run in runs if run.recipe.model == model]
        common = median(run.evaluation.baseline["latency_seconds"].value for run in own)
        source = f"paired ratio to the uncompressed model, times that model's median over {len(own)} runs here"
        for run in own:
            ratio = run.evaluation.ratio
            assert ratio is not None  # it is timed
            low = None if ratio.low is None else ratio.low * common
            high = None if ratio.high is None else ratio.high * common
            latency = Quantity(ratio.value * common, "s", Evidence.MEASURED, source, low, high)
            uncut = Quantity(common, "s", Evidence.MEASURED, f"median over {len(own)} runs here")
            yield _point(run.recipe.baseline, run.evaluation.baseline, uncut, run.evaluation.n, gain)
            if run.recipe.active:
                yield _point(run.recipe, run.evaluation.compressed, latency, run.evaluation.n, gain)


def _point(recipe: Recipe, figures: Mapping[str, Quantity], cost: Quantity, n: int, gain: str) -> Point:
    return Point(recipe, cost, figures[gain], figures["accuracy"], n)
