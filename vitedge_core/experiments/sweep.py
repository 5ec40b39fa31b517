"""A sweep measures recipes of a space: all of them, or those that a search method proposes.

It is an Optuna study that any number of processes work on. Neighbours in the queue share their first steps, so that
those are computed once. A recipe measured before is found, not measured again; one that its plan shows to be of no use
is not carried out; one that is clearly beaten sees few images.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from vitedge_core.compress import plan_recipe, technique_of
from vitedge_core.errors import Cancelled, Unneeded, VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments import jobs
from vitedge_core.experiments.crew import crew, share_threads
from vitedge_core.experiments.space import Space, read_space
from vitedge_core.experiments.store import StoreError, study
from vitedge_core.experiments.trial_queue import Queue
from vitedge_core.experiments.warm_start import probe
from vitedge_core.experiments.worker import Worker, working
from vitedge_core.experiments.worth import Worth
from vitedge_core.plan import Plan
from vitedge_core.recipe import Recipe
from vitedge_core.storage import data_folder, written_whole

if TYPE_CHECKING:
    from optuna import Trial

KIND = "sweep"
LOOK_SECONDS = 0.5  # between two looks at what the others do

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]
Measured = tuple[Mapping[str, Quantity], int]  # the figures of a recipe, and how many images it saw
Measure = Callable[[Space, Recipe, Worth, Report, Cancel], Measured]


def start_sweep(space: Space, workers: int = 1) -> str:
    """Start a sweep as a job; returns its name.

    Raises:
        VitEdgeError: The space cannot be swept, or no process can be started.
    """
    _check(space, workers)
    name = jobs.new_name(KIND)
    path = data_folder("jobs") / f"{name}.json"
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(space.to_dict(), indent=2))
    study(name, create=True, directions=space.goal.directions)
    # the store's address may hold a password, which a list of processes would show: it is inherited instead
    jobs.start(name, KIND, space.title, _arguments(path, name, workers=workers))
    return name


def run_sweep(
    space_path: Path,
    name: str,
    storage: str | None = None,
    *,
    trials: int | None = None,
    workers: int = 1,
    report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
    measure: Measure | None = None,
) -> dict[str, Any]:
    """Work on a sweep until nothing is left to do; what `python -m vitedge_core sweep` does.

    Args:
        space_path: What to sweep.
        name: Of the study; whoever names the same one in the same store works on the same sweep.
        storage: URL of the store, by default the usual one.
        trials: Recipes at most, measured by all workers together.
        workers: Processes on this machine.
        report: Called with the share done and a sentence.
        cancelled: Asked often.
        measure: In place of a real measurement.

    Returns:
        name of the study, how many recipes are done, how many there are, how many were not worth measuring, those that
        cannot be carried out, and whether the sweep was paused.

    Raises:
        VitEdgeError: The space cannot be swept, the study holds another one, or the store is gone.
        Cancelled: Somebody asked for it; the recipe in flight goes back into the queue.
    """
    space = read_space(space_path)
    _check(space, workers)
    study(name, storage, create=True, directions=space.goal.directions)
    again = _arguments(space_path, name, trials, workers)
    with working(name, KIND, space.title, storage, arguments=again, shared=True) as worker:
        seed = space.seed + crc32(worker.key.encode()) * (workers > 1 or _accompanied(worker))
        queue = Queue(space, worker, seed % 2**32, trials)
        sitting = _Sitting(queue, report, cancelled, measure or _measuring(storage))
        queue.fill()
        threads = share_threads(workers)
        others = _arguments(space_path, name, trials)
        with crew(others, workers - 1, threads, name, storage, cancelled=worker.cancelled):
            sitting.work()
        return sitting.summary()


def _check(space: Space, workers: int) -> None:
    space.check()
    if workers > 1 and space.times:
        raise VitEdgeError("A latency is measured on a quiet machine: use one worker, or leave the latency out.")
    probe(space)


def _arguments(path: Path, name: str, trials: int | None = None, workers: int = 1) -> list[str]:
    """What to type after `python -m vitedge_core`."""
    options = ["--trials", str(trials)] if trials else []
    options += ["--workers", str(workers)] if workers > 1 else []
    return ["sweep", str(path.resolve()), "--study", name, *options]


def _accompanied(worker: Worker) -> bool:
    """Whether other processes work on it: then they must not propose the same recipes."""
    return len(jobs.workers(jobs.attributes(worker.study)).keys() - {"worker"}) > 1


@dataclass
class _Sitting:
    """What one process does on a sweep between its start and its end."""

    queue: Queue
    report: Report
    cancelled: Cancel
    measure: Measure
    baselines: dict[str, Quantity] = field(default_factory=dict)  # accuracies by model, once they are known

    @property
    def space(self) -> Space:
        return self.queue.space

    def work(self) -> None:
        """Measure what the queue gives until it is over, or somebody wishes a pause."""
        for trial in self._trials():
            if not self.queue.repeated(trial):
                self._one(trial)

    def _trials(self) -> Iterator[Trial]:
        """The recipes for this process; while others are at the last ones it waits, since they may die."""
        while True:
            if self._stopping():
                raise Cancelled("The sweep was cancelled; what it measured is kept.")
            if self.queue.worker.pausing():
                self.queue.worker.leave()
                return
            trial = self.queue.take()
            if trial is not None:
                yield trial
            elif self.queue.over:
                self._tell(1.0, self._so_far())
                return
            else:
                self._tell(self.queue.done / self.queue.total, f"{self._so_far()}; others are at the last ones")
                time.sleep(LOOK_SECONDS)

    def _one(self, trial: Trial) -> None:
        """Measure one recipe; one that cannot be carried out is noted with its sentence."""
        queue, recipe = self.queue, self.queue.recipe(trial)
        done, total, said = queue.done, max(1, queue.total), self._so_far()

        def inner(share: float, sentence: str) -> None:
            self._tell(min(1.0, (done + share) / total), f"{said}; {sentence}")

        inner(0.0, "next one")
        start = time.monotonic()
        try:
            gate = Worth(self.space.goal, self.space.rungs, queue.known, learns=_learns(recipe))
            gate.before(_planned(recipe), self.baselines.get(recipe.model))
            figures, n = self.measure(self.space, recipe, gate, inner, self._stopping)
            values = self.space.goal.values(figures)
        except Cancelled:
            queue.give_back(trial)
            raise
        except Unneeded as reason:
            queue.skipped(trial, reason)
        except StoreError:
            raise
        except VitEdgeError as problem:
            queue.close(trial, "problem", str(problem))
        else:
            about = {"n": n, "seconds": round(time.monotonic() - start, 3)}
            queue.measured(trial, values, self.space.goal.excesses(figures), about)
            if gate.baseline is not None:
                self.baselines[recipe.model] = gate.baseline

    def _so_far(self) -> str:
        queue = self.queue
        skipped = f", {queue.skips} not worth measuring" if queue.skips else ""
        problems = list(queue.problems.values())
        trouble = f"; {len(problems)} could not be carried out, such as: {problems[0]}" if problems else ""
        return f"{queue.done} of {queue.total} recipes done{skipped}{trouble}"

    def summary(self) -> dict[str, Any]:
        """What the command line prints."""
        self.queue.look()
        return {
            "study": self.queue.study.study_name, "done": self.queue.done, "total": self.queue.total,
            "skipped": self.queue.skips, "problems": self.queue.problems, "paused": self.queue.worker.paused,
        }  # fmt: skip

    def _stopping(self) -> bool:
        return self.queue.worker.cancelled() or self.cancelled()

    def _tell(self, share: float, sentence: str) -> None:
        self.queue.worker.report(share, sentence)
        self.report(share, sentence)


def _planned(recipe: Recipe) -> Plan:
    """What the recipe makes of the shapes.

    Raises:
        VitEdgeError: A step of it cannot be carried out.
    """
    planned = plan_recipe(recipe)
    if planned.problems:
        raise VitEdgeError(next(iter(planned.problems.values())))
    return planned.last


def _learns(recipe: Recipe) -> bool:
    return any(technique_of(step).card.trains for step in recipe.active)


def _measuring(url: str | None) -> Measure:
    """Measures a recipe as its space wants it, or finds it among the runs of a store."""

    def measure(space: Space, recipe: Recipe, gate: Worth, report: Report, cancelled: Cancel) -> Measured:
        from vitedge_core.experiments.runs import measured

        found = measured(
            recipe, space.images, space.limit, latency=space.times, gaze=space.looks, gate=gate, report=report,
            cancelled=cancelled, origin=KIND, engine=space.engine, url=url,
        )  # fmt: skip
        return space.goal.all_of(found, _planned(recipe)), found.n

    return measure
