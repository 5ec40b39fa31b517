"""A sweep measures a grid of recipes: one recipe, some of its knobs with several values each.

The whole grid waits as a queue in an Optuna study, in an order in which neighbours share their first steps, so that
those are computed once. A recipe measured before is found, not measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments import jobs
from vitedge_core.experiments.space import Space, read_space
from vitedge_core.experiments.store import stored
from vitedge_core.experiments.worker import Worker, working
from vitedge_core.recipe import Recipe, Scalar
from vitedge_core.storage import data_folder, written_whole

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

KIND = "sweep"
MAX_TRIES = 3  # a recipe that kills its process is given up after so many

Report = Callable[[float, str], None]
Measure = Callable[[Space, Recipe, Report, Callable[[], bool]], Mapping[str, Quantity]]


def start_sweep(space: Space) -> str:
    """Start a sweep as a job; returns its name.

    Raises:
        VitEdgeError: The space cannot be swept, or no process can be started.
    """
    space.check()
    name = jobs.new_name(KIND)
    path = data_folder("jobs") / f"{name}.json"
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(space.to_dict(), indent=2))
    # the store's address may hold a password, which a list of processes would show: it is inherited instead
    arguments = ["sweep", str(path.resolve()), "--study", name]
    jobs.start(name, KIND, space.title, arguments)
    return name


def run_sweep(
    space_path: Path,
    study: str,
    storage: str | None = None,
    *,
    trials: int | None = None,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
    measure: Measure | None = None,
) -> dict[str, Any]:
    """Work on a sweep until its queue is empty, or for `trials` recipes; what `python -m vitedge_core sweep` does.

    Returns:
        name of the study, how many recipes are done, how many there are, and those that could not be measured.

    Raises:
        Cancelled: Somebody asked for it; the recipe in flight goes back into the queue.
    """
    space = read_space(space_path)
    space.check()
    again = ["sweep", str(space_path.resolve()), "--study", study]
    with working(study, KIND, space.title, storage, arguments=again) as worker:
        sitting = _Sitting(space, worker, report, cancelled, measure or _measure)
        sitting.fill()
        for count, trial in enumerate(sitting.queue()):
            if trials is not None and count >= trials:
                sitting.give_back(trial)
                break
            sitting.work(trial)
        return sitting.summary()


@dataclass
class _Sitting:
    """What one process does on a sweep between its start and its end."""

    space: Space
    worker: Worker
    report: Report
    cancelled: Callable[[], bool]
    measure: Measure

    @property
    def study(self) -> Study:
        return self.worker.study

    def fill(self) -> None:
        """Queue what is not there yet, and what a process died on."""
        with stored():
            known = self.study.user_attrs.get("space")
            if known is not None and known != self.space.to_dict():
                raise VitEdgeError(f"The study {self.study.study_name} holds another sweep; use another name.")
            self.study.set_user_attr("space", self.space.to_dict())
            trials = self.study.get_trials(deepcopy=False)
            queued = {_settings(trial) for trial in trials}
            for values in self.space.grid():
                if tuple(sorted(values.items())) not in queued:
                    self.study.enqueue_trial(values)
            for orphan in trials:
                if orphan.state.name == "RUNNING":
                    self._retry(orphan)

    def queue(self) -> Iterator[Trial]:
        """The waiting recipes, one after the other."""
        while self._waiting():
            if self._stopping():
                raise Cancelled("The sweep was cancelled; what it measured is kept.")
            with stored():
                trial = self.study.ask(self._distributions())
            yield trial

    def work(self, trial: Trial) -> None:
        """Measure one recipe; one that cannot be carried out is noted with its sentence."""
        from optuna.trial import TrialState

        recipe = self.space.at(trial.params)
        done, total = self._done(), self.space.size

        def inner(share: float, sentence: str) -> None:
            self._tell((done + share) / total, f"{done} of {total} recipes done; {sentence}")

        inner(0.0, "next one")
        try:
            figures = self.measure(self.space, recipe, inner, self._stopping)
        except Cancelled:
            self.give_back(trial)
            raise
        except VitEdgeError as problem:
            with stored():
                trial.set_user_attr("problem", str(problem))
                self.study.tell(trial, state=TrialState.FAIL)
        else:
            with stored():
                self.study.tell(trial, [figures["accuracy"].value, figures["macs"].value])
        self._tell(self._done() / total, f"{self._done()} of {total} recipes done{self._trouble()}")

    def give_back(self, trial: Trial) -> None:
        """Put a recipe that was begun back into the queue."""
        from optuna.trial import TrialState

        with stored():
            self.study.tell(trial, state=TrialState.FAIL)
            self.study.enqueue_trial(dict(trial.params), {"tries": trial.user_attrs.get("tries", 0)})

    def summary(self) -> dict[str, Any]:
        """What the command line prints."""
        return {
            "study": self.study.study_name, "done": self._done(), "total": self.space.size,
            "problems": {str(dict(_settings(trial))): problem for trial, problem in self._problems()},
        }  # fmt: skip

    def _problems(self) -> list[tuple[FrozenTrial, str]]:
        with stored():
            trials = self.study.get_trials(deepcopy=False)
        return [(trial, trial.user_attrs["problem"]) for trial in trials if "problem" in trial.user_attrs]

    def _trouble(self) -> str:
        problems = self._problems()
        return f"; {len(problems)} could not be carried out, such as: {problems[0][1]}" if problems else ""

    def _retry(self, orphan: FrozenTrial) -> None:
        """The process that worked on this recipe died: queue it again, but not for ever."""
        from optuna.trial import TrialState, create_trial

        tries = orphan.user_attrs.get("tries", 0) + 1
        settings = dict(_settings(orphan))
        self.study.tell(orphan.number, state=TrialState.FAIL)
        if tries < MAX_TRIES:
            self.study.enqueue_trial(settings, {"tries": tries})
        else:
            problem = f"The process died {tries} times on this recipe."
            failed = create_trial(
                state=TrialState.FAIL, system_attrs={"fixed_params": settings}, user_attrs={"problem": problem}
            )
            self.study.add_trial(failed)

    def _waiting(self) -> bool:
        with stored():
            return any(trial.state.name == "WAITING" for trial in self.study.get_trials(deepcopy=False))

    def _done(self) -> int:
        """Recipes that need no more work: measured, or known to be impossible."""
        with stored():
            trials = self.study.get_trials(deepcopy=False)
        return len({_settings(t) for t in trials if t.state.name == "COMPLETE" or "problem" in t.user_attrs})

    def _distributions(self) -> dict[str, BaseDistribution]:
        from optuna.distributions import CategoricalDistribution

        return {self.space.name(axis): CategoricalDistribution(axis.values) for axis in self.space.axes}

    def _stopping(self) -> bool:
        return self.worker.cancelled() or self.cancelled()

    def _tell(self, share: float, sentence: str) -> None:
        self.worker.report(share, sentence)
        self.report(share, sentence)


def _settings(trial: FrozenTrial) -> tuple[tuple[str, Scalar], ...]:
    return tuple(sorted(trial.system_attrs.get("fixed_params", trial.params).items()))


def _measure(space: Space, recipe: Recipe, report: Report, cancelled: Callable[[], bool]) -> Mapping[str, Quantity]:
    from vitedge_core.experiments.runs import measured

    return measured(
        recipe,
        space.images,
        space.limit,
        latency=space.latency,
        gaze=space.gaze,
        report=report,
        cancelled=cancelled,
        origin=KIND,
    ).compressed
