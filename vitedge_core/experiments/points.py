"""Measured runs as the points of one chart: the recipes and their baselines, each once, and who is on the front."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from statistics import median

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.evaluation import GAZE
from vitedge_core.experiments.pareto import front, hypervolume, knee
from vitedge_core.experiments.runs import Run
from vitedge_core.recipe import Recipe

GAINS = ("accuracy", *GAZE)  # the more the better
COSTS = ("macs", "params", "weight_bytes", "peak_memory_bytes", "latency_seconds")  # the less the better


@lru_cache(65_536)
def digest(recipe: Recipe) -> str:
    """The recipe's digest, remembered: a chart asks for thousands, again and again."""
    return recipe.digest


@dataclass(frozen=True, slots=True)
class Point:
    """A recipe on a chart.

    figures: everything measured of it, by name. axes: the two or three objectives it is compared by. n: images behind
    its accuracy. origin: who measured it ("Build", "sweep", ...). knee: where a front of two objectives bends most.
    """

    recipe: Recipe
    figures: Mapping[str, Quantity]
    axes: tuple[str, ...]
    n: int
    origin: str = ""
    on_front: bool = False
    knee: bool = False

    @property
    def key(self) -> str:
        """Names the recipe."""
        return digest(self.recipe)

    @property
    def cost(self) -> Quantity:
        """The first objective."""
        return self.figures[self.axes[0]]

    @property
    def gain(self) -> Quantity:
        """The second objective."""
        return self.figures[self.axes[1]]

    @property
    def third(self) -> Quantity | None:
        """The third objective, if there is one."""
        return self.figures[self.axes[2]] if len(self.axes) > 2 else None

    @property
    def accuracy(self) -> Quantity:
        """Its accuracy, an objective or not."""
        return self.figures["accuracy"]

    @property
    def place(self) -> tuple[float, ...]:
        """Its objectives, each turned so that less is better."""
        return tuple(self.figures[axis].value * sign(axis) for axis in self.axes)


def sign(axis: str) -> int:
    """What turns an objective into one to be minimised: -1 where more is better."""
    return -1 if axis in GAINS else 1


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
        name = run.evaluation.digest
        found[name] = ImageSet(name, run.title, found[name].runs + 1 if name in found else 1)
    return tuple(sorted(found.values(), key=lambda images: -images.runs))


def points(runs: Sequence[Run], cost: str, gain: str = "accuracy", third: str | None = None) -> tuple[Point, ...]:
    """The points of a chart, in order of cost. A recipe measured more than once counts with most images.

    Args:
        runs: On one image set.
        cost: Of `COSTS` or `GAINS`; a latency needs runs that were timed on this machine.
        gain: Another of them; runs that do not know it are left out.
        third: A third one, or None: the front is then of all three, and there is no knee.
    """
    axes = (cost, gain) if third is None else (cost, gain, third)
    best: dict[str, Point] = {}
    for point in _candidates(runs, axes):
        known = best.get(point.key)
        if known is None or point.n >= known.n:
            best[point.key] = point
    found = sorted(best.values(), key=lambda point: point.place)
    places = [point.place for point in found]
    bend = knee(places) if third is None else None
    return tuple(
        replace(point, on_front=on, knee=number == bend)
        for number, (point, on) in enumerate(zip(found, front(places), strict=True))
    )


def within(point: Point, limits: Mapping[str, float]) -> bool:
    """Whether a point keeps a budget: costs at most, gains at least their limit."""
    return all(sign(axis) * point.figures[axis].value <= sign(axis) * limit for axis, limit in limits.items())


def best_within(found: Sequence[Point], limits: Mapping[str, float]) -> Point | None:
    """The point in the budget with the best second objective, of equal ones that with the best first; None if none."""
    inside = [point for point in found if within(point, limits)]
    return min(inside, key=lambda point: (point.place[1], point.place[0]), default=None)


def covered(found: Sequence[Point]) -> Quantity | None:
    """How much of the chart the front dominates, as a share; the hypervolume, scaled. None without a point.

    The chart reaches, on each objective, from 0 to the worst measured cost, or for a gain from 0 to 1, or as far as the
    best gain goes. Its interval: had every recipe the worse, or the better, end of each of its own intervals.
    """
    if not found:
        return None
    value, worse, better = (_dominated([_ends(point)[which] for point in found], found) for which in range(3))
    return Quantity(
        value, "share", Evidence.MEASURED,
        f"hypervolume of the front of {len(found)} measured recipes, as a share of the chart from 0 to its worst cost; "
        "its interval takes every recipe at the worse, or at the better, end of its own",
        min(worse, value), max(better, value),
    )  # fmt: skip


def _ends(point: Point) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """A point's objectives as measured, at the worse and at the better ends of their intervals."""
    figures = [point.figures[axis] for axis in point.axes]
    low, high = ([f.value if end is None else end for f, end in pairs]
                 for pairs in ([(f, f.low) for f in figures], [(f, f.high) for f in figures]))  # fmt: skip
    turned = [sign(axis) < 0 for axis in point.axes]
    worse = tuple(low[i] if gain else high[i] for i, gain in enumerate(turned))
    return tuple(f.value for f in figures), worse, tuple(high[i] if gain else low[i] for i, gain in enumerate(turned))


def _dominated(values: Sequence[tuple[float, ...]], found: Sequence[Point]) -> float:
    """The hypervolume with every objective scaled to the chart, 0 the best and 1 the worst."""
    scaled = []
    for place, axis in enumerate(found[0].axes):
        top = max(point.figures[axis].value for point in found)
        top = max(1.0, top) if sign(axis) < 0 else top or 1.0
        column = [min(max(value[place] / top, 0.0), 1.0) for value in values]
        scaled.append([1 - value for value in column] if sign(axis) < 0 else column)
    return hypervolume(list(zip(*scaled, strict=True)), (1.0,) * len(scaled))


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


def _candidates(runs: Sequence[Run], axes: tuple[str, ...]) -> Iterable[Point]:
    if "latency_seconds" in axes:
        yield from _timed([run for run in runs if run.timed_here], axes)
        return
    for run in runs:
        measured = run.evaluation
        yield from _point(_uncompressed(run), measured.baseline, run, axes)
        yield from _point(run.recipe, measured.compressed, run, axes)


def _timed(runs: Sequence[Run], axes: tuple[str, ...]) -> Iterable[Point]:
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
            yield from _point(_uncompressed(run), {**run.evaluation.baseline, "latency_seconds": uncut}, run, axes)
            if run.recipe.active:
                yield from _point(run.recipe, {**run.evaluation.compressed, "latency_seconds": latency}, run, axes)


def _uncompressed(run: Run) -> Recipe:
    """The model as it was; without steps a seed changes nothing, so all runs of a model share one."""
    return replace(run.recipe.baseline, seed=0)


def _point(recipe: Recipe, figures: Mapping[str, Quantity], run: Run, axes: tuple[str, ...]) -> Iterable[Point]:
    """The point, if all its objectives were measured."""
    if all(axis in figures for axis in axes):
        yield Point(recipe, figures, axes, run.evaluation.n, run.origin)
