"""A target in, recipes out: which measured recipes meet a device's limits, how surely, and what gives if none does.

Nothing is measured here: accuracies come from stored runs, sizes and memory from plans, latencies on named devices from
the model of published latencies, and on this machine from the runs that were timed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from vitedge_core.compress import plan_recipe
from vitedge_core.cost.edge_latency import EdgeLatencies, Prediction
from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.report import cost
from vitedge_core.errors import VitEdgeError, unknown
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.axes import Axis, class_of, range_around, values_between
from vitedge_core.experiments.goal import DEVICE_SECONDS, Goal, Limit
from vitedge_core.experiments.goal import LOST as LOST_FIGURE
from vitedge_core.experiments.points import points
from vitedge_core.experiments.presets import presets
from vitedge_core.experiments.runs import Run
from vitedge_core.experiments.space import Space
from vitedge_core.plan import FLOAT_BITS, Plan
from vitedge_core.recipe import Recipe

HERE = ""  # the device that stands for this machine
TRIALS = 30  # recipes of a focused sweep
VALUES = 5  # of each of its knobs
TIME, FILE, MEMORY, LOST = "time", "file", "memory", "accuracy lost"
POINT = 0.01
_WIDTHS = {"s": NormalDist().inv_cdf(0.9)}  # predicted latencies carry 80 % intervals, everything else 95 %
_WIDTH = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. device: a name with published latencies, or `HERE`. None is no limit.

    seconds: of one inference. file_bytes: of the weights. memory_bytes: alive at once. lost: share of accuracy that
    may go, 0.01 is one point.

    Raises:
        VitEdgeError: Nothing is limited, or a limit is no number above 0 (0 points may be lost).
    """

    device: str = HERE
    seconds: float | None = None
    file_bytes: float | None = None
    memory_bytes: float | None = None
    lost: float | None = None

    def __post_init__(self) -> None:
        limits = {TIME: self.seconds, FILE: self.file_bytes, MEMORY: self.memory_bytes, LOST: self.lost}
        if all(limit is None for limit in limits.values()):
            raise VitEdgeError("Set at least one limit: time, file, memory, or the accuracy that may be lost.")
        for name, limit in limits.items():
            if limit is not None and not (math.isfinite(limit) and (limit > 0 or (name == LOST and limit == 0))):
                raise VitEdgeError(f"The limit of {name} must be a number above 0, not {limit:g}.")


@dataclass(frozen=True, slots=True)
class Condition:
    """One limit and the figure that must stay below it. figure None: nobody knows it, `why` says so."""

    name: str
    limit: float
    figure: Quantity | None
    why: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure itself is within the limit."""
        return self.figure is not None and self.figure.value <= self.limit

    @property
    def chance(self) -> float:
        """Probability that the limit holds, if the interval is that of a normal error (of the logarithm, for times)."""
        return 0.0 if self.figure is None else _chance(self.figure, self.limit)

    @property
    def excess(self) -> float:
        """How far beyond the limit: the logarithm of the ratio; 5 points of accuracy weigh as much as a factor e."""
        if self.figure is None:
            return math.inf
        if self.name == LOST:
            return (self.figure.value - self.limit) / (5 * POINT)
        return math.log(self.figure.value / self.limit)


@dataclass(frozen=True, slots=True)
class Advice:
    """A recipe and how it stands to a wish. accuracy None: not measured yet. target: where its time was predicted."""

    recipe: Recipe
    conditions: tuple[Condition, ...]
    accuracy: Quantity | None
    n: int = 0
    target: Target | None = None

    @property
    def fits(self) -> bool:
        """Whether every figure is within its limit."""
        return all(condition.met for condition in self.conditions)

    @property
    def chance(self) -> float:
        """Probability that all limits hold, if their errors have nothing to do with each other."""
        return math.prod(condition.chance for condition in self.conditions)

    @property
    def binding(self) -> Condition | None:
        """The limit that is most in danger; None where no limit touches it."""
        return min(self.conditions, key=lambda condition: (condition.chance, -condition.excess), default=None)

    @property
    def may_fit(self) -> bool:
        """Whether no figure that is known breaks its limit."""
        return all(condition.met or condition.figure is None for condition in self.conditions)

    @property
    def excess(self) -> float:
        """How far beyond its worst limit."""
        return max((condition.excess for condition in self.conditions), default=0.0)


@dataclass(frozen=True, slots=True)
class Gives:
    """What helps when nothing fits: with `limit` for that one condition `advice` would fit."""

    name: str
    limit: Quantity
    advice: Advice


@dataclass(frozen=True, slots=True)
class Answer:
    """fitting: best accuracy first, those that hold more surely than not before the rest. missing: the nearest misses.

    gives: what to give for one of them, the cheapest of each limit. untried: recipes whose costs fit and whose accuracy
    nobody measured. considered: how many measured recipes were looked at.
    """

    wish: Wish
    fitting: tuple[Advice, ...]
    missing: tuple[Advice, ...]
    gives: tuple[Gives, ...]
    untried: tuple[Advice, ...]
    considered: int


def advise(runs: Sequence[Run], models: Iterable[str], wish: Wish, latencies: EdgeLatencies) -> Answer:
    """Rank recipes for a wish.

    Args:
        runs: Stored ones, all on one image set.
        models: Those that may be used, measured or not.
        wish: The limits.
        latencies: The model of published latencies; only asked where a device is named.

    Raises:
        VitEdgeError: Nobody published a latency on the device.
    """
    chosen = set(models)
    own = [run for run in runs if run.recipe.model in chosen]
    measured = _latest(own)
    judge = _Judge(wish, latencies, own)
    found = [judge.advice(known.recipe, known) for known in measured.values()]
    fitting = sorted((one for one in found if one.fits), key=_rank)
    missing = sorted((one for one in found if not one.fits), key=lambda one: one.excess)
    offers = [judge.advice(recipe) for recipe in _offers(chosen) if recipe.digest not in measured]
    untried = [one for one in offers if one.may_fit]
    gives = () if fitting else tuple(_gives(missing))
    return Answer(wish, tuple(fitting), tuple(missing), gives, tuple(untried), len(found))


def _rank(advice: Advice) -> tuple[bool, float, float]:
    assert advice.accuracy is not None
    return advice.chance < 0.5, -advice.accuracy.value, -advice.chance


@dataclass(frozen=True, slots=True)
class _Known:
    """What a run says of a recipe's accuracy, or of its uncompressed model's."""

    recipe: Recipe
    accuracy: Quantity
    lost: Quantity
    n: int


def _latest(runs: Sequence[Run]) -> dict[str, _Known]:
    """Every recipe and every uncompressed model, as measured on most images, and of those last."""
    best: dict[str, _Known] = {}
    for run in runs:
        found = run.evaluation
        none = Quantity.exact(0, "share", "the uncompressed model is what others are compared with")
        for known in (
            _Known(run.recipe.baseline, found.baseline["accuracy"], none, found.n),
            _Known(run.recipe, found.compressed["accuracy"], _negated(found.difference), found.n),
        ):
            other = best.get(known.recipe.digest)
            if other is None or known.n >= other.n:
                best[known.recipe.digest] = known
    return best


def _offers(models: Iterable[str]) -> Iterable[Recipe]:
    """Recipes that could be tried: the models themselves and what is offered to start from."""
    for model in sorted(models):
        yield Recipe(model)
        yield from (preset.recipe for preset in presets(model))


class _Judge:
    """Holds recipes to a wish; latencies of all recipes are predicted at once where a device is named."""

    def __init__(self, wish: Wish, latencies: EdgeLatencies, runs: Sequence[Run]) -> None:
        self._wish, self._latencies = wish, latencies
        timed = points(runs, "latency_seconds") if wish.device == HERE else ()
        self._here = {point.key: point.cost for point in timed}
        self._targets = tuple(target for target in latencies.targets if target.device == wish.device)
        if wish.device != HERE and not self._targets:
            names = {target.device for target in latencies.targets}
            raise unknown("device with published latencies", wish.device, names)

    def advice(self, recipe: Recipe, known: _Known | None = None) -> Advice:
        """How a recipe stands; where nobody measured it, its accuracy is unknown and no condition."""
        plan, wish = plan_recipe(recipe).last, self._wish
        costs, conditions, target = cost(plan), [], None
        if wish.seconds is not None:
            figure, why, target = self._time(recipe, plan)
            conditions.append(Condition(TIME, wish.seconds, figure, why))
        if wish.file_bytes is not None:
            conditions.append(Condition(FILE, wish.file_bytes, costs.weight_bytes))
        if wish.memory_bytes is not None:
            conditions.append(Condition(MEMORY, wish.memory_bytes, costs.peak_memory_bytes))
        if known is None:
            return Advice(recipe, tuple(conditions), None, 0, target)
        if wish.lost is not None:
            conditions.append(Condition(LOST, wish.lost, known.lost))
        return Advice(recipe, tuple(conditions), known.accuracy, known.n, target)

    def _time(self, recipe: Recipe, plan: Plan) -> tuple[Quantity | None, str, Target | None]:
        """The latency, or why nobody knows it, and where it was predicted: the fastest that computes such numbers."""
        if self._wish.device == HERE:
            known = self._here.get(recipe.digest)
            return known, "" if known else "It was not timed on this machine yet.", None
        targets = [target for target in self._targets if _computes(target, plan)]
        answers = self._latencies.predict_all(plan, targets) if targets else []
        known = [answer for answer in answers if isinstance(answer, Prediction)]
        if known:
            best = min(known, key=lambda answer: answer.latency.value)
            return best.latency, "", best.target
        reason = next((answer.reason for answer in answers if not isinstance(answer, Prediction)), "")
        return None, reason or f"Nobody published latencies of {self._wish.device} at this recipe's bits.", None


def _computes(target: Target, plan: Plan) -> bool:
    """Whether the accuracy that was measured is that of this target: int8 needs an int8 recipe, float a float one."""
    return target.bits is not None and (min(target.bits) < FLOAT_BITS // 2) == plan.quantised


def _negated(difference: Quantity) -> Quantity:
    """The accuracy that is lost instead of the change."""
    low, high = difference.low, difference.high
    return replace(difference, value=-difference.value, low=None if high is None else -high,
                   high=None if low is None else -low)  # fmt: skip


def _chance(figure: Quantity, limit: float) -> float:
    low, high = figure.low, figure.high
    if low is None or high is None or low == high:
        return float(figure.value <= limit)
    time = figure.unit == "s" and low > 0
    value, bound, low, high = (math.log(x) if time else x for x in (figure.value, limit, low, high))
    width = (high - value if bound > value else value - low) / _width(figure)
    return float(bound >= value) if width <= 0 else NormalDist(value, width).cdf(bound)


def _width(figure: Quantity) -> float:
    """Deviations from the value to an end of its interval."""
    return _WIDTHS["s"] if figure.unit == "s" and figure.evidence is Evidence.PREDICTED else _WIDTH


def _gives(missing: Sequence[Advice]) -> Iterable[Gives]:
    """For each limit alone: the smallest value at which some recipe that meets all others would fit."""
    for name in (TIME, FILE, MEMORY, LOST):
        best: Gives | None = None
        for advice in missing:
            broken = [condition for condition in advice.conditions if not condition.met]
            if len(broken) != 1 or broken[0].name != name or broken[0].figure is None:
                continue
            if best is None or broken[0].figure.value < best.limit.value:
                best = Gives(name, broken[0].figure, advice)
        if best is not None:
            yield best


def focused(answer: Answer, images: str | None = None) -> Space | None:
    """A sweep near the budget: around the best recipe, or the nearest miss, and within the limits.

    Args:
        answer: What was advised.
        images: What `open_images` takes; None for the model's own.

    Returns:
        The space; None where no recipe at hand has a knob to vary.
    """
    for advice in (*answer.fitting, *answer.missing, *answer.untried):
        axes = _axes(advice.recipe)
        if axes:
            aim = DEVICE_SECONDS if answer.wish.device != HERE and answer.wish.seconds is not None else "weight_bytes"
            goal = Goal(("accuracy", aim), _limits(answer.wish), answer.wish.device)
            return Space(advice.recipe, axes, images, goal=goal, sampler="tpe", trials=TRIALS, halving=True)
    return None


def _axes(recipe: Recipe) -> tuple[Axis, ...]:
    """The first knob of every step that is a number, around its value."""
    axes = []
    for number, step in enumerate(recipe.steps):
        knobs = [knob for knob in class_of(step.technique).knobs() if knob.step and not isinstance(knob.default, str)]
        if step.enabled and knobs:
            value = step.knobs.get(knobs[0].name, knobs[0].default)
            low, high = range_around(knobs[0], float(value))
            axes.append(Axis(number, knobs[0].name, values_between(knobs[0], low, high, VALUES)))
    return tuple(axes)


def _limits(wish: Wish) -> tuple[Limit, ...]:
    wanted = {
        "weight_bytes": wish.file_bytes, "peak_memory_bytes": wish.memory_bytes, LOST_FIGURE: wish.lost,
        DEVICE_SECONDS: wish.seconds if wish.device != HERE else None,
    }  # fmt: skip
    return tuple(Limit(figure, most=limit) for figure, limit in wanted.items() if limit is not None)
