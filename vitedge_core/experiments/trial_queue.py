"""Who measures what: the trials of a sweep, shared by any number of processes on any number of machines.

A trial waits, is taken by one process, and ends measured, skipped or impossible. A process that dies gives its trial
back: whoever looks next sees that its heart has stopped, and queues the recipe again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import Unneeded, VitEdgeError
from vitedge_core.experiments.jobs import SILENT_SECONDS, workers
from vitedge_core.experiments.samplers import sampler_named
from vitedge_core.experiments.space import Settings, Space
from vitedge_core.experiments.store import change_state, stored
from vitedge_core.experiments.warm_start import spread, warm_start
from vitedge_core.experiments.worker import Worker
from vitedge_core.experiments.worth import Known, known_of
from vitedge_core.recipe import Recipe

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

FRESH_SECONDS = 0.5  # for so long what was read of the store is believed
MAX_TRIES = 3  # a recipe that kills its process is given up after so many
REPEATS = 3  # proposals in a row that are known already, before one is drawn that is not
BARREN = 300  # proposals in a row that are not worth measuring, before a search is over
SPACE = "space"  # the attribute of a study that holds what is swept
CLOSED = ("problem", "skipped")  # attributes of trials that need no measurement


class Queue:
    """The trials as one process sees them. most: recipes to be measured by all together, None for no bound."""

    def __init__(self, space: Space, worker: Worker, seed: int, most: int | None = None) -> None:
        self.space, self.worker = space, worker
        self.most = most or space.trials
        self.study: Study = worker.study
        self.study.sampler = sampler_named(space.sampler).make(space.total, seed)
        self.trials: list[FrozenTrial] = []
        self.over = ""  # why there is nothing more to do, in words
        self._seed = seed
        self._last: Recipe | None = None
        self._barren = self._repeats = 0
        self._recipes: dict[int, Recipe] = {}
        self._digests: dict[int, str] = {}
        self._current = -1  # number of the trial that this process is at
        self._looked = -math.inf  # when

    def fill(self) -> None:
        """Queue what is not there yet, and what processes died on.

        Raises:
            VitEdgeError: The study holds another sweep, or one of another version.
        """
        with stored():
            self._check_space()
            self.look()
            if not self.space.whole and self.trials:
                return  # it was warmed before
            present = {self._key(trial) for trial in self.trials if not self._gone(trial)}
            for settings in self.space.grid() if self.space.whole else warm_start(self.space):
                if tuple(sorted(settings.items())) not in present:
                    self.study.enqueue_trial(settings)

    def look(self) -> None:
        """See what all processes did, and queue again what a dead one was at."""
        self._looked = time.monotonic()
        with stored():
            self.trials = self.study.get_trials(deepcopy=False)
            running = [trial for trial in self.trials if trial.state.name == "RUNNING"]
            others = [trial for trial in running if trial.number != self._current]
            if others:
                alive = workers(self.study.user_attrs)
                lost = [trial for trial in others if not self._in_hand(trial, alive)]
                for trial in lost:
                    self._retry(trial)
                if lost:
                    self.trials = self.study.get_trials(deepcopy=False)

    def take(self) -> Trial | None:
        """The next recipe for this process; None while the others are at the last ones, or when `over`."""
        self.look()
        if self._barren >= BARREN:
            self.over = f"{BARREN} proposals in a row were not worth measuring"
            return None
        trial = self._waiting()
        if trial is None and not self._enough():
            trial = self._proposed()
        if trial is None and not any(one.state.name == "RUNNING" for one in self.trials):
            self.over = self.over or "every recipe was looked at"
        if trial is not None:
            self._last = self.recipe(trial)
        return trial

    def recipe(self, trial: Trial | FrozenTrial) -> Recipe:
        """The recipe of a trial; one that is in hand was remembered when it was begun."""
        from optuna.trial import FrozenTrial

        number = trial._trial_id  # noqa: SLF001  the only name of a trial that is unique in a store
        if number not in self._recipes and isinstance(trial, FrozenTrial):
            self._recipes[number] = self.space.at(self._settings(trial))
        return self._recipes[number]

    def _digest(self, trial: Trial | FrozenTrial) -> str:
        number = trial._trial_id  # noqa: SLF001
        if number not in self._digests:
            self._digests[number] = self.recipe(trial).digest
        return self._digests[number]

    def repeated(self, trial: Trial) -> bool:
        """Whether another trial has the same recipe already; then this one is closed.

        Two processes may begin twins at the same moment: both see both, and the one that began first goes on.
        """
        self.look()
        digest, own = self._digest(trial), self._turn(self.trials[trial.number])
        alike = [one for one in self._settled() if one.number != trial.number and self._digest(one) == digest]
        same = [
            one.number for one in alike
            if one.state.name == "COMPLETE" or self._closed(one)
            or (one.state.name == "RUNNING" and self._turn(one) < own)
        ]  # fmt: skip
        if not same:
            self._repeats = 0
            return False
        self._repeats, self._barren = self._repeats + 1, self._barren + 1
        self.close(trial, "same as", same[0])
        return True

    def known(self) -> list[Known]:
        """What is known from all processes, a moment ago at most: reading the store takes milliseconds."""
        if time.monotonic() - self._looked > FRESH_SECONDS:
            self.look()
        return known_of(self.trials)

    def measured(self, trial: Trial, values: list[float], excesses: dict[str, float], about: dict[str, Any]) -> None:
        """Write down what a recipe achieves, and by how much it is beyond each limit."""
        self._barren = 0
        with stored():
            for name, value in about.items():
                trial.set_user_attr(name, value)
            for name, value in excesses.items():
                trial.set_constraint(name, value)
            self._tell(trial, values)

    def skipped(self, trial: Trial, reason: Unneeded) -> None:
        """Write down why a recipe is not worth its images; the search learns from it."""
        self._barren += 1
        self.close(trial, "skipped", str(reason), state="PRUNED")

    def close(self, trial: Trial, what: str, value: Any, state: str = "FAIL") -> None:
        """End a trial that has no result; `what` and `value` say why."""
        from optuna.trial import TrialState

        with stored():
            trial.set_user_attr(what, value)
            self._tell(trial, None, TrialState[state])

    def give_back(self, trial: Trial) -> None:
        """Put a recipe that was begun back into the queue."""
        from optuna.trial import TrialState

        with stored():
            self._tell(trial, None, TrialState.FAIL)
            self.study.enqueue_trial(dict(trial.params), {"tries": trial.user_attrs.get("tries", 0)})

    @property
    def total(self) -> int:
        """How many recipes there will be."""
        return self.space.total if self.most is None else min(self.most, self.space.total)

    @property
    def done(self) -> int:
        """Recipes that need no more work; a search counts only those that were measured or are impossible."""
        whole = self.space.whole
        return len({
            self._digest(trial) for trial in self._settled()
            if trial.state.name == "COMPLETE" or (self._closed(trial) if whole else "problem" in trial.user_attrs)
        })  # fmt: skip

    @property
    def problems(self) -> dict[str, str]:
        """The sentence of each recipe that cannot be carried out, by its settings."""
        return {str(dict(self._key(t))): t.user_attrs["problem"] for t in self.trials if "problem" in t.user_attrs}

    @property
    def skips(self) -> int:
        """How many recipes were not worth their images."""
        return sum("skipped" in trial.user_attrs for trial in self.trials)

    def _check_space(self) -> None:
        known = self.study.user_attrs.get(SPACE)
        if known is None:
            self.study.set_user_attr(SPACE, self.space.to_dict())
            return
        name = self.study.study_name
        try:
            held = Space.from_dict(known)
        except VitEdgeError as error:
            raise VitEdgeError(f"The study {name} is of another version of VitEdge; use another name.") from error
        if held != self.space:
            raise VitEdgeError(f"The study {name} holds another sweep; use another name.")

    def _waiting(self) -> Trial | None:
        """A waiting trial that nobody else took; if possible one that begins as the last one did."""
        from optuna.trial import TrialState

        settled = self._settled()
        waiting = [trial for trial in settled if trial.state is TrialState.WAITING]
        elsewhere = {self.recipe(trial).active[:1] for trial in settled if trial.state is TrialState.RUNNING}
        while waiting and self._room():
            trial = max(waiting, key=lambda one: (*self._likeness(self.recipe(one), elsewhere), -one.number))
            if change_state(self.study, trial, TrialState.WAITING, TrialState.RUNNING):
                return self._begun(trial._trial_id)  # noqa: SLF001
            waiting.remove(trial)
        return None

    def _likeness(self, recipe: Recipe, elsewhere: Iterable[Any]) -> tuple[int, bool]:
        """How many first steps it shares with the last recipe; and whether no other process is at such a beginning."""
        shared = 0
        if self._last is not None and self._last.model == recipe.model:
            for one, other in zip(self._last.active, recipe.active, strict=False):
                if one != other:
                    break
                shared += 1
        return shared, recipe.active[:1] not in elsewhere

    def _proposed(self) -> Trial | None:
        """What the search method proposes next."""
        if self.space.whole:
            return None
        if self._repeats >= REPEATS:
            self._repeats = 0
            return self._fresh()
        with stored():
            number = self.study._storage.create_new_trial(self.study._study_id)  # noqa: SLF001  as Study.ask does
            return self._begun(number)

    def _fresh(self) -> Trial | None:
        """A recipe at random that nobody proposed: the method goes round in circles."""
        taken = [self._digest(trial) for trial in self._settled() if not self._gone(trial)]
        settings: Settings | None = next(spread(self.space, 1, self._seed + len(self.trials), taken), None)
        if settings is None:
            self.over = "no recipe of this space is left"
            return None
        with stored():
            self.study.enqueue_trial(settings)
        self.look()
        return self._waiting()

    def _begun(self, number: int) -> Trial:
        """The trial of that number with its settings, marked as this process's."""
        import optuna

        with stored():
            self.study._thread_local.cached_all_trials = None  # noqa: SLF001  as Study.ask does
            trial = optuna.Trial(self.study, number)
            for name, distribution in self._distributions().items():
                trial._suggest(name, distribution)  # noqa: SLF001
            trial.set_user_attr("begun", self.worker.key)
        self._recipes[number] = self.space.at(trial.params)
        self._current = trial.number
        return trial

    def _distributions(self) -> dict[str, BaseDistribution]:
        ordered = self.space.sampler != "grid"
        return {name: choice.distribution(ordered=ordered) for name, choice in self.space.choices.items()}

    def _enough(self) -> bool:
        """Whether all that may be measured is measured or in somebody's hands."""
        return self.over != "" or not self._room()

    def _room(self) -> bool:
        running = sum(trial.state.name == "RUNNING" for trial in self.trials)
        return self.most is None or self.done + running < self.most

    def _tell(self, trial: Trial, values: list[float] | None, state: Any = None) -> None:
        """End a trial; one that was taken from this process, as if it were dead, is somebody else's now."""
        self._current = -1
        with stored():
            try:
                self.study.tell(trial, values, state=state)
            except ValueError:
                if self.study.get_trials(deepcopy=False)[trial.number].state.name == "RUNNING":
                    raise

    def _retry(self, orphan: FrozenTrial) -> None:
        """The process that worked on this recipe died: queue it again, but not for ever."""
        from optuna.trial import TrialState, create_trial

        if not change_state(self.study, orphan, TrialState.RUNNING, TrialState.FAIL):
            return  # another process was faster
        tries = orphan.user_attrs.get("tries", 0) + 1
        settings = self._settings(orphan)
        if not self.space.choices.keys() <= settings.keys():
            return  # it died before it had chosen
        if tries < MAX_TRIES:
            self.study.enqueue_trial(settings, {"tries": tries})
        else:
            problem = f"The process died {tries} times on this recipe."
            failed = create_trial(
                state=TrialState.FAIL, system_attrs={"fixed_params": settings}, user_attrs={"problem": problem}
            )
            self.study.add_trial(failed)

    def _in_hand(self, trial: FrozenTrial, alive: dict[str, Any]) -> bool:
        """Whether a process that lives is at it; one that has not said so has just begun."""
        if "begun" in trial.user_attrs:
            key = trial.user_attrs["begun"]
            return key in alive and key != self.worker.key  # an own one that is not at hand is of an earlier sitting
        started = trial.datetime_start
        return bool(alive.keys() - {self.worker.key}) and (
            started is not None and time.time() - started.timestamp() < SILENT_SECONDS
        )

    def _settled(self) -> list[FrozenTrial]:
        """The trials whose recipe is known; another process may just be choosing one."""
        names = self.space.choices.keys()
        return [trial for trial in self.trials if names <= self._settings(trial).keys()]

    @staticmethod
    def _turn(trial: FrozenTrial) -> tuple[float, int]:
        """Who of two that run began first."""
        return trial.datetime_start.timestamp() if trial.datetime_start else 0.0, trial.number

    def _gone(self, trial: FrozenTrial) -> bool:
        """Whether a trial ended without an answer."""
        return trial.state.name == "FAIL" and not self._closed(trial)

    @staticmethod
    def _closed(trial: FrozenTrial) -> bool:
        return any(name in trial.user_attrs for name in CLOSED)

    @staticmethod
    def _settings(trial: FrozenTrial) -> Settings:
        return {**trial.system_attrs.get("fixed_params", {}), **trial.params}

    def _key(self, trial: FrozenTrial) -> tuple[Any, ...]:
        return tuple(sorted(self._settings(trial).items()))
