"""Is a recipe worth its images? Cheap figures first, then as few images as it takes to see that it is beaten.

What a plan tells costs nothing: a recipe beyond a limit, or one that costs more than another which is right at least as
often as this one could ever be, is not carried out at all. The rest see 100 images, then 500, then all (successive
halving: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
2016), but it is the interval, not a fixed share, that decides who goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitedge_core.errors import Unneeded
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.goal import GAINS, LOST, Goal, lost
from vitedge_core.plan import Plan

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, slots=True)
class Known:
    """A recipe that was measured and keeps to the limits. values: of the objectives; n: images."""

    number: int
    values: tuple[float, ...]
    n: int


def known_of(trials: Sequence[FrozenTrial]) -> list[Known]:
    """What the finished trials of a sweep tell."""
    return [
        Known(trial.number, tuple(trial.values), int(trial.user_attrs.get("n", 0)))
        for trial in trials
        if trial.state.name == "COMPLETE" and all(excess <= 0 for excess in trial.constraints.values())
    ]


class Worth:
    """The gate of one recipe.

    Args:
        goal: Of the sweep.
        rungs: Numbers of images after which it is asked.
        known: Gives what is known of other recipes by now.
        learns: Whether a step of the recipe trains, so that it may become better than its baseline.
    """

    def __init__(
        self, goal: Goal, rungs: Sequence[int], known: Callable[[], Sequence[Known]], *, learns: bool = False
    ) -> None:  # fmt: skip
        self.goal, self.rungs = goal, tuple(rungs)
        self._known, self._learns = known, learns
        self._figures: dict[str, Quantity] = {}
        self.baseline: Quantity | None = None  # accuracy of the uncompressed model, once it is known

    def before(self, plan: Plan, baseline: Quantity | None) -> None:
        """Raise `Unneeded` if the recipe breaks a limit or is beaten whatever its images show.

        Args:
            plan: Of the recipe; an estimate is believed in nothing.
            baseline: Accuracy of the uncompressed model, None where it is not known yet.
        """
        self.baseline = baseline
        if not plan.exact:
            return
        self._figures = self.goal.planned(plan)
        for limit in self.goal.limits:
            figure = self._figures.get(limit.figure)
            if figure is not None and limit.excess(figure) > 0:
                raise Unneeded(f"It does not keep to {limit}: {figure.value:.4g}.")
        best = 1.0 if self._learns or baseline is None or baseline.high is None else baseline.high
        beaten = self._beaten(Quantity.exact(best, "share", "the most it could be", Evidence.PREDICTED), 0)
        if beaten is not None:
            raise Unneeded(f"Recipe {beaten.number} costs no more and is right as often as this one could ever be.")

    def enough(self, accuracy: Quantity, difference: Quantity, n: int) -> bool:
        """Whether even the upper end of the accuracy is beaten, or a limit is certainly broken."""
        figures = {"accuracy": accuracy, LOST: lost(difference)}
        if any(limit.broken(figures[limit.figure]) for limit in self.goal.limits if limit.figure in figures):
            return True
        return self._beaten(accuracy, n) is not None

    def _beaten(self, accuracy: Quantity, n: int) -> Known | None:
        """A recipe, seen on as many images at least, that is no worse in anything even if this one is lucky."""
        high = accuracy.value if accuracy.high is None else accuracy.high
        hoped = self._hoped(self._figures, high)
        if hoped is None:
            return None
        for other in self._known():
            pairs = zip(self.goal.objectives, other.values, hoped, strict=True)
            if other.n >= n and all(a >= b if name in GAINS else a <= b for name, a, b in pairs):
                return other
        return None

    def _hoped(self, figures: Mapping[str, Quantity], accuracy: float) -> list[float] | None:
        """The best objectives the recipe may have; None where one of them is open."""
        hoped = {**{name: figure.value for name, figure in figures.items()}, "accuracy": accuracy}
        if not all(name in hoped for name in self.goal.objectives):
            return None
        return [hoped[name] for name in self.goal.objectives]
