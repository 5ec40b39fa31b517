"""Runs side by side: where their recipes and circumstances differ, and which figures differ by more than chance.

The interval of a difference comes from the intervals of its two sides, each distance from the value squared and added
(Zou and Donner, "Construction of confidence limits about effect measures: a general approach", Statistics in Medicine
2008; for shares it is method 10 of Newcombe, Statistics in Medicine 1998). It takes the two sides for independent. On
the same images they are not, so that it is rather too wide; to compare answer by answer, the answers would have to be
kept with the run, which they are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.evaluation import FIGURES, GAZE
from vitedge_core.experiments.run_list import Entry
from vitedge_core.experiments.runs import Run
from vitedge_core.recipe import Recipe, Step

FEWEST, MOST = 2, 6
RATIO, CHANGE = "latency_ratio", "accuracy_difference"  # figures beside those of `evaluation.FIGURES`
ABSENT = "–"
_ON_IMAGES = ("accuracy", CHANGE, *GAZE)
_ON_CLOCK = ("latency_seconds", RATIO, "measured_memory_bytes")
_ORDER = tuple(dict.fromkeys(("accuracy", CHANGE, *FIGURES, RATIO, *GAZE)))
_WEAKEST_FIRST = (Evidence.IMPORTED, Evidence.SIMULATED, Evidence.PREDICTED, Evidence.PUBLISHED, Evidence.MEASURED)


class Verdict(StrEnum):
    """How a figure compares with that of the first run, in the words that are shown."""

    SAME = "the same"
    LARGER = "differs"
    WITHIN = "within the intervals"
    UNSURE = "no interval known"
    APART = "cannot be compared"
    MISSING = "not measured"


@dataclass(frozen=True, slots=True)
class Line:
    """A recipe's knob or a circumstance, as a text for each run. technique: its key, empty for a circumstance."""

    title: str
    cells: tuple[str, ...]
    technique: str = ""

    @property
    def differs(self) -> bool:
        """Whether the runs say different things."""
        return len(set(self.cells)) > 1


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of each run, None where it was not measured; against the first run: the difference, the verdict.

    why: the sentences that say why some cannot be compared; usually one.
    """

    name: str
    values: tuple[Quantity | None, ...]
    differences: tuple[Quantity | None, ...]
    verdicts: tuple[Verdict, ...]
    why: str = ""

    @property
    def differs(self) -> bool:
        """Whether a run differs from the first by more than the intervals."""
        return Verdict.LARGER in self.verdicts


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two to six runs beside each other; every figure is compared with the first run's."""

    entries: tuple[Entry, ...]
    recipe: tuple[Line, ...]
    about: tuple[Line, ...]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]


def compare(entries: Sequence[Entry]) -> Comparison:
    """These runs side by side.

    Raises:
        VitEdgeError: They are fewer than two or more than six.
    """
    if not FEWEST <= len(entries) <= MOST:
        raise VitEdgeError(f"{FEWEST} to {MOST} runs can be compared; {len(entries)} are chosen.")
    runs = [entry.run for entry in entries]
    sides = [_sides(run) for run in runs]
    names = [name for name in _ORDER if any(name in side for side in sides)]
    figures = tuple(_figure(name, runs, [side.get(name) for side in sides]) for name in names)
    return Comparison(tuple(entries), _recipe(runs), _about(runs), figures, tuple(_notes(runs)))


def difference(first: Quantity, other: Quantity) -> Quantity:
    """The other minus the first, with the interval that their two intervals give; none where one is unknown."""
    value = other.value - first.value
    weakest = min(first.evidence, other.evidence, key=_WEAKEST_FIRST.index)
    source = "difference of two runs; interval from their two intervals, taken for independent"
    if first.low is None or first.high is None or other.low is None or other.high is None:
        return Quantity(value, first.unit, weakest, source)
    below = math.hypot(other.value - other.low, first.high - first.value)
    above = math.hypot(other.high - other.value, first.value - first.low)
    return Quantity(value, first.unit, weakest, source, value - below, value + above)


def _sides(run: Run) -> dict[str, Quantity]:
    measured = run.evaluation
    ratio = {} if measured.ratio is None else {RATIO: measured.ratio}
    return {**measured.compressed, CHANGE: measured.difference, **ratio}


def _figure(name: str, runs: Sequence[Run], values: Sequence[Quantity | None]) -> Figure:
    whys = [_apart(name, runs[0], run) for run in runs[1:]]
    differences: list[Quantity | None] = [None]
    verdicts = []
    for why, value in zip(whys, values[1:], strict=True):
        first = values[0]
        comparable = first is not None and value is not None and first.unit == value.unit and not why
        differences.append(difference(first, value) if comparable and first and value else None)
        missing = Verdict.MISSING if first is None or value is None else Verdict.APART
        verdicts.append(_verdict(differences[-1]) if differences[-1] else missing)
    said = dict.fromkeys(why for why, verdict in zip(whys, verdicts, strict=True) if why and verdict is Verdict.APART)
    return Figure(name, tuple(values), tuple(differences), tuple(verdicts), " ".join(said))


def _verdict(gap: Quantity) -> Verdict:
    if gap.is_exact:
        return Verdict.LARGER if gap.value else Verdict.SAME
    if gap.low is None or gap.high is None:
        return Verdict.UNSURE if gap.value else Verdict.SAME
    return Verdict.WITHIN if gap.low <= 0 <= gap.high else Verdict.LARGER


def _apart(name: str, first: Run, other: Run) -> str:
    """Why this figure of two runs cannot be compared; empty where it can."""
    if name in _ON_IMAGES and first.evaluation.digest != other.evaluation.digest:
        return "They were measured on different images."
    if name in _ON_CLOCK and (where := _elsewhere(first, other)):
        return where
    if name in (CHANGE, RATIO) and first.recipe.model != other.recipe.model:
        return "Each is relative to its own uncompressed model, and these are different models."
    if name == "latency_seconds":
        return "They were timed at different times, when the machine was busy with other things; compare the ratio."
    return ""


def _elsewhere(first: Run, other: Run) -> str:
    """The sentence on two runs whose clocks do not compare recipes alone; empty where they do."""
    machines = first.machine != other.machine
    if first.engine != other.engine:
        engines = f"They were measured in different engines ({first.engine}; {other.engine})"
        also = " and on different machines" if machines else ""
        return f"{engines}{also}, so a difference would not be that of the recipes."
    return "They were measured on different machines." if machines else ""


def _recipe(runs: Sequence[Run]) -> tuple[Line, ...]:
    """The model and every knob of every step; a method that is used twice has lines for each time."""
    recipes = [run.recipe for run in runs]
    steps = [_numbered(recipe) for recipe in recipes]
    lines = [Line("Model", tuple(recipe.model for recipe in recipes))]
    for place in dict.fromkeys(place for own in steps for place in own):
        knobs = dict.fromkeys(name for own in steps if place in own for name, _ in own[place].params)
        lines += [
            Line(name, tuple(_knob(own.get(place), name) for own in steps), place[0]) for name in knobs or {"": None}
        ]
    lines += _also("Order of the steps", recipes, lambda r: ", ".join(step.technique for step in r.active))
    return (*lines, *_also("Seed", recipes, lambda recipe: str(recipe.seed)))


def _numbered(recipe: Recipe) -> dict[tuple[str, int], Step]:
    """The steps by method and how often it occurred before."""
    found: dict[tuple[str, int], Step] = {}
    for step in recipe.active:
        count = sum(technique == step.technique for technique, _ in found)
        found[step.technique, count] = step
    return found


def _knob(step: Step | None, name: str) -> str:
    if step is None:
        return ABSENT
    return str(step.knobs.get(name, "default")) if name else "used"


def _also(title: str, recipes: Sequence[Recipe], say: Callable[[Recipe], str]) -> list[Line]:
    """A line only where the recipes differ in it; for the order, among those of the same steps."""
    line = Line(title, tuple(map(say, recipes)))
    same_steps = len({tuple(sorted(step.technique for step in recipe.active)) for recipe in recipes}) == 1
    return [line] if line.differs and (same_steps or title == "Seed") else []


def _about(runs: Sequence[Run]) -> tuple[Line, ...]:
    libraries = dict.fromkeys(name for run in runs for name, _ in run.versions)
    says: dict[str, Callable[[Run], str]] = {
        "Images": lambda run: run.title,
        "Number of images": lambda run: f"{run.evaluation.n:,}",
        "Engine": lambda run: run.engine,
        "Machine": lambda run: run.machine,
        "Weights": lambda run: run.weights,
        "Measured by": lambda run: f"{run.origin}, imported" if run.imported else run.origin,
    }
    lines = [Line(title, tuple(say(run) or ABSENT for run in runs)) for title, say in says.items()]
    return (*lines, *(Line(name, tuple(dict(run.versions).get(name, ABSENT) for run in runs)) for name in libraries))


def _notes(runs: Sequence[Run]) -> list[str]:
    """What a reader must know to read the comparison."""
    same = {run.evaluation.digest for run in runs}
    counts = {run.evaluation.n for run in runs}
    said = ["Figures are compared with those of run A; a difference counts where its 95 % interval leaves zero out."]
    if len(same) == 1:
        said.append(
            "The answers to single images are not kept with a run, so accuracies are compared as if they came from "
            "different images; on the same images smaller differences can be real."
        )
    if len(same) == 1 and len(counts) > 1:
        said.append("The runs saw different numbers of these images.")
    if len({run.engine for run in runs}) > 1:
        said.append("The runs ran in different engines: a difference of their accuracies is of recipe and engine.")
    if len({(run.recipe.model, run.weights) for run in runs}) > len({run.recipe.model for run in runs}):
        said.append("Runs of one model had different weights: it was trained anew in between.")
    if any(run.imported for run in runs):
        said.append("Imported runs were measured elsewhere and not checked here.")
    return said
