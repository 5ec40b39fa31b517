"""Every measurement is a run, kept with what it rests on, and found again instead of being measured twice."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.evaluation import GAZE, QUICK, Evaluation, Gate
from vitedge_core.experiments.store import storage_url, stored, study
from vitedge_core.recipe import Recipe

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from vitedge_core.datasets.sets import LabelledImages

STUDY = "vitedge runs"
ENGINE = "PyTorch, eager"
_LIBRARIES = ("torch", "timm", "numpy")
_FORMAT = 1
_parsed: dict[tuple[str, int], Run | None] = {}

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """An evaluation and its circumstances.

    limit: images asked for, None for all. title: of the image set. weights: names the trained weights the model had.
    time: when it ended, seconds since 1970. seconds: what it took. origin: who asked ("Build", "sweep", ...).
    """

    evaluation: Evaluation
    limit: int | None
    title: str
    weights: str
    time: float
    seconds: float
    origin: str = ""
    engine: str = ENGINE
    machine: str = ""
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def recipe(self) -> Recipe:
        """What was measured."""
        return self.evaluation.recipe

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What it is a measurement of: two runs of one key are repetitions."""
        return self.recipe.digest, self.weights, self.evaluation.digest, self.evaluation.n

    @property
    def timed(self) -> bool:
        """Whether it knows a latency."""
        return self.evaluation.ratio is not None

    @property
    def gazed(self) -> bool:
        """Whether it knows where the model looks."""
        return GAZE[0] in self.evaluation.compressed

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the store."""
        return {
            "format": _FORMAT, "evaluation": _plain(self.evaluation), "limit": self.limit, "title": self.title,
            "weights": self.weights, "time": self.time, "seconds": self.seconds, "origin": self.origin,
            "engine": self.engine, "machine": self.machine, "versions": dict(self.versions),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Run:
        """Read `to_dict`'s values."""
        if plain["format"] != _FORMAT:
            raise ValueError("a run of another format")
        rest = {key: value for key, value in plain.items() if key not in {"format", "evaluation", "versions"}}
        return cls(_evaluation(plain["evaluation"]), **rest, versions=tuple(sorted(plain["versions"].items())))


def measured(
    recipe: Recipe,
    images: str | LabelledImages | None = None,
    limit: int | None = QUICK,
    *,
    latency: bool = True,
    gaze: bool = False,
    gate: Gate | None = None,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
    origin: str = "",
    url: str | None = None,
) -> Evaluation:
    """What `evaluate` says of the recipe: from the store if it was measured before, else measured now and kept.

    A latency comes from the store only if it was measured on this machine. With a gate, a run on fewer images will do
    where the gate says so.

    Raises:
        VitEdgeError: As `evaluate`, or the store is out of reach.
        Unneeded: The gate said so.
        Cancelled: Nothing is kept.
    """
    from vitedge_core.experiments.evaluate import can_gaze, evaluate, images_for, tested_on

    chosen = images_for(recipe.model, images)
    gaze = gaze and can_gaze(recipe.model, chosen)
    digest = tested_on(recipe, chosen).digest
    known = find(recipe, digest, limit, latency=latency, gaze=gaze, url=url)
    known = known or _short(recipe, digest, gate, latency=latency, gaze=gaze, url=url)
    if known:
        report(1.0, "Measured before.")
        return known.evaluation
    start = time.monotonic()
    evaluation = evaluate(recipe, chosen, limit, latency, gaze=gaze, gate=gate, report=report, cancelled=cancelled)
    seconds = time.monotonic() - start
    weights = _weights(recipe.model)  # only now: the first use may have fetched them
    asked = evaluation.n if gate is not None and evaluation.n in gate.rungs else limit
    run = Run(evaluation, asked, chosen.title, weights, time.time(), seconds, origin, ENGINE, machine(), versions())
    record(run, url)
    return evaluation


def _short(recipe: Recipe, digest: str, gate: Gate | None, *, latency: bool, gaze: bool, url: str | None) -> Run | None:
    """A run that ended at one of the gate's rungs, if the gate needs no more than it."""
    for rung in sorted(gate.rungs, reverse=True) if gate is not None else ():
        known = find(recipe, digest, rung, latency=latency, gaze=gaze, url=url)
        if known and gate is not None:
            found = known.evaluation
            return known if gate.enough(found.compressed["accuracy"], found.difference, found.n) else None
    return None


def record(run: Run, url: str | None = None) -> None:
    """Keep a run: all of it or, if the process dies meanwhile, nothing."""
    import optuna

    figures = run.evaluation.compressed
    values = [figures["accuracy"].value, figures["macs"].value]
    trial = optuna.trial.create_trial(values=values, user_attrs={"run": run.to_dict()})
    with stored():
        study(STUDY, url, create=True).add_trial(trial)


def all_runs(url: str | None = None) -> tuple[Run, ...]:
    """The runs, oldest first; of repetitions the latest, but a timed one, and one that knows where the model looks."""
    runs: dict[tuple[str, str, str, int], Run] = {}
    for run in _kept(url):
        other = runs.get(run.key)
        if other is None or (run.timed, run.gazed) >= (other.timed, other.gazed):
            runs[run.key] = run
    return tuple(sorted(runs.values(), key=lambda run: run.time))


def find(
    recipe: Recipe, digest: str, limit: int | None, *, latency: bool = False, gaze: bool = False,
    url: str | None = None,
) -> Run | None:  # fmt: skip
    """The latest run of this recipe, with the weights its model has now; None if there is none.

    Args:
        recipe: Steps that are switched off do not matter.
        digest: Of the images it is tested on.
        limit: How many of the images; the run must have been asked for as many or have seen exactly as many.
        latency: Whether it must know the latency too, measured on this machine.
        gaze: Whether it must know where the model looks.
        url: Of the store.
    """
    weights = _weights(recipe.model)
    for run in reversed(_kept(url)):
        same = run.recipe.digest == recipe.digest and run.weights == weights and run.evaluation.digest == digest
        enough = limit in {run.limit, run.evaluation.n}
        if same and enough and (not latency or (run.timed and run.machine == machine())) and run.gazed >= gaze:
            return run
    return None


def usual_seconds(model: str, limit: int | None, *, latency: bool) -> float | None:
    """Median time that such runs of this model took on this machine; None before the first."""
    times = sorted(
        run.seconds
        for run in _kept(None)
        if run.recipe.model == model and run.limit == limit and run.timed == latency and run.machine == machine()
    )
    return times[len(times) // 2] if times else None


@cache
def machine() -> str:
    """The machine in a few words; latencies are compared only where it is the same."""
    return f"{platform.node()}: {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """The libraries that a figure may depend on."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # installed in a way that leaves no version
            continue
    return tuple(sorted(found.items()))


def _weights(model: str) -> str:
    """Names the weights that the model has now."""
    from vitedge_core.models.load import fingerprint

    return fingerprint(model)


def _kept(url: str | None) -> list[Run]:
    """Every stored run in the order in which they were stored, repetitions too."""
    where = url or storage_url()
    with stored():
        trials = study(STUDY, where, create=True).get_trials(deepcopy=False)
    return [run for trial in trials if (run := _parse(where, trial))]


def _parse(url: str, trial: FrozenTrial) -> Run | None:
    """A stored trial as a run; None for what another version left there. Finished trials never change."""
    key = (url, trial._trial_id)  # noqa: SLF001  the only name of a trial that is unique in a store
    if key not in _parsed:
        try:
            _parsed[key] = Run.from_dict(trial.user_attrs["run"])
        except (KeyError, TypeError, ValueError, AttributeError, VitEdgeError):
            _parsed[key] = None
    return _parsed[key]


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "recipe": evaluation.recipe.to_dict(),
        "images": evaluation.images, "digest": evaluation.digest, "n": evaluation.n,
        "baseline": {name: figure.to_dict() for name, figure in evaluation.baseline.items()},
        "compressed": {name: figure.to_dict() for name, figure in evaluation.compressed.items()},
        "difference": evaluation.difference.to_dict(),
        "ratio": evaluation.ratio.to_dict() if evaluation.ratio else None,
        "notes": list(evaluation.notes),
    }  # fmt: skip


def _evaluation(plain: dict[str, Any]) -> Evaluation:
    return Evaluation(
        Recipe.from_dict(plain["recipe"]), plain["images"], plain["digest"], plain["n"],
        {name: _quantity(figure) for name, figure in plain["baseline"].items()},
        {name: _quantity(figure) for name, figure in plain["compressed"].items()},
        _quantity(plain["difference"]), plain["ratio"] and _quantity(plain["ratio"]), tuple(plain["notes"]),
    )  # fmt: skip


def _quantity(plain: dict[str, Any]) -> Quantity:
    return Quantity(**{**plain, "evidence": Evidence(plain["evidence"])})
