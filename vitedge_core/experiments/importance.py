"""Which knob matters: how much of what is gained each knob explains, over measured recipes of one kind.

Reference: Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014
(fANOVA): a random forest learns the gain from the knobs, and its variance is split by knob. Optuna's implementation.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.points import Point
from vitedge_core.recipe import Recipe, Scalar

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEWEST = 12  # recipes for each knob that varies; with fewer a forest finds patterns in noise
MOST = 400  # recipes that are looked at: time grows faster than their number, and the answer hardly changes
RESAMPLES = 10
TREES, DEPTH = 16, 6

Report = Callable[[float, str], None]
Kind = tuple[str, ...]  # a model and the techniques that are done to it, in order
Settings = Mapping[str, Scalar]  # the knobs of a recipe by name, such as "1 tome.r"


def kinds(found: Iterable[Point]) -> dict[Kind, tuple[Point, ...]]:
    """The compressed recipes by kind, the kind with most of them first. Only within one do knobs compare."""
    grouped: dict[Kind, list[Point]] = {}
    for point in found:
        if point.recipe.active:
            grouped.setdefault((point.recipe.model, *(s.technique for s in point.recipe.active)), []).append(point)
    return {kind: tuple(own) for kind, own in sorted(grouped.items(), key=lambda pair: -len(pair[1]))}


def settings(recipe: Recipe) -> dict[str, Scalar]:
    """All knobs of a recipe, those at their default too."""
    return {
        f"{number} {step.technique}.{name}": value
        for number, step in enumerate(recipe.active, 1)
        for name, value in {**_defaults(step.technique), **step.knobs}.items()
    }


def varied(chosen: Sequence[Settings]) -> tuple[str, ...]:
    """The knobs that have more than one value among these recipes."""
    names = dict.fromkeys(name for one in chosen for name in one)
    return tuple(name for name in names if len({one.get(name) for one in chosen}) > 1)


def missing(chosen: Sequence[Settings]) -> int:
    """How many more recipes are needed before importances mean something; 0 if there are enough."""
    return max(0, FEWEST * len(varied(chosen)) - len(chosen))


def importances(
    chosen: Sequence[Settings], gains: Sequence[float], *,
    report: Report = lambda share, sentence: None, cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Quantity]:  # fmt: skip
    """The share of the gain's variance that each varied knob explains, the largest first.

    Its interval is the range over resamples of the recipes. Of more than `MOST` recipes, a sample is taken.

    Args:
        chosen: The settings of recipes of one kind.
        gains: What each of them gained.
        report: Told how far it is.
        cancelled: Asked before each resample.

    Raises:
        VitEdgeError: Too few recipes, no knob varies, or all gained the same.
        Cancelled: Somebody asked for it.
    """
    names = varied(chosen)
    if not names:
        raise VitEdgeError("No knob varies among these recipes; sweep one.")
    if missing(chosen):
        raise VitEdgeError(f"{len(names)} knobs vary; {missing(chosen)} more recipes are needed to tell them apart.")
    if len(set(gains)) < 2:
        raise VitEdgeError("All these recipes came out the same, so no knob mattered.")
    draw = random.Random(0)  # noqa: S311  nothing secret
    rows = list(range(len(chosen)))
    rows = draw.sample(rows, MOST) if len(rows) > MOST else rows
    space = {name: _distribution([chosen[row][name] for row in rows]) for name in names}
    whole = _explained(chosen, gains, rows, space)
    again = []
    for number in range(RESAMPLES):
        if cancelled():
            raise Cancelled("Which knob matters was not worked out.")
        report((1 + number) / (1 + RESAMPLES), f"learning from resample {number + 1} of {RESAMPLES} of the recipes")
        again.append(_explained(chosen, gains, draw.choices(rows, k=len(rows)), space))
    source = (
        f"fANOVA over {len(rows)} measured recipes: a random forest of {TREES} trees; its range over {RESAMPLES} "
        "resamples of the recipes, which is no 95 % interval"
    )
    return {
        name: Quantity(share, "share", Evidence.PREDICTED, source, *_range([share, *(one[name] for one in again)]))
        for name, share in sorted(whole.items(), key=lambda pair: -pair[1])
    }


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _explained(
    chosen: Sequence[Settings], gains: Sequence[float], rows: Sequence[int], space: dict[str, BaseDistribution]
) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for row in rows:
        values = {name: _plain(chosen[row][name]) for name in space}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=space, value=gains[row]))
    if len({gains[row] for row in rows}) < 2:  # a resample of one value explains nothing
        return dict.fromkeys(space, 0.0)
    forest = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=forest, params=list(space))
    return {name: float(found[name]) for name in space}


def _distribution(values: Sequence[Scalar]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]
        return FloatDistribution(min(numbers), max(numbers))
    return CategoricalDistribution(sorted({_plain(value) for value in values}, key=str))


def _plain(value: Scalar) -> float | str:
    """A value as Optuna takes it: numbers as floats, anything else as text."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


@lru_cache(256)
def _defaults(technique: str) -> Mapping[str, Scalar]:
    """The knobs of a technique at their defaults; none for one that nobody knows any more."""
    import vitedge_core.techniques  # noqa: F401  fills the registry
    from vitedge_core.registry import technique as known

    try:
        return {knob.name: knob.default for knob in known(technique).knobs()}
    except VitEdgeError:
        return {}
