"""Every measurement is a run, kept with what it rests on, and found again instead of being measured twice."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments.evaluation import GAZE, QUICK, Evaluation, Gate
from vitedge_core.experiments.run_notes import notes
from vitedge_core.experiments.store import storage_url, stored, study
from vitedge_core.recipe import Recipe

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from vitedge_core.datasets.sets import LabelledImages

STUDY = "vitedge runs"
ENGINE, EAGER = "PyTorch, eager", "eager"  # title and key of the engine that runs which do not say more ran in
_LIBRARIES = ("torch", "timm", "numpy", "torchao", "onnx", "onnxruntime", "openvino", "nncf")
_FORMAT = 1
_parsed: dict[tuple[str, int], Kept | None] = {}

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """An evaluation and its circumstances.

    limit: images asked for, None for all. title: of the image set. weights: names the trained weights the model had.
    time: when it ended, seconds since 1970. seconds: what it took. origin: who asked ("Build", "sweep", ...).
    imported: it was measured elsewhere and came in a file; it never stands in for a measurement of our own.
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
    imported: bool = False

    @property
    def name(self) -> str:
        """Twelve hexadecimal characters that name this one run in every store, also after it was imported there."""
        measured = self.evaluation
        sides = [
            [(name, side[name].value) for name in sorted(side)] for side in (measured.baseline, measured.compressed)
        ]
        about = [self.recipe.digest, self.weights, measured.digest, measured.n, self.limit, self.time, self.seconds,
                 self.engine, self.machine, *sides]  # fmt: skip
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]

    @property
    def recipe(self) -> Recipe:
        """What was measured."""
        return self.evaluation.recipe

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What it is a measurement of: two runs of one key are repetitions."""
        return self.recipe.digest, self.weights, self.evaluation.digest, self.evaluation.n, self.engine

    @property
    def timed(self) -> bool:
        """Whether it knows a latency."""
        return self.evaluation.ratio is not None

    @property
    def timed_here(self) -> bool:
        """Whether its latency was measured on this machine."""
        return self.timed and not self.imported and self.machine == machine()

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
            "imported": self.imported,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Run:
        """Read `to_dict`'s values."""
        if plain["format"] != _FORMAT:
            raise ValueError("a run of another format")
        rest = {key: value for key, value in plain.items() if key not in {"format", "evaluation", "versions"}}
        return cls(_evaluation(plain["evaluation"]), **rest, versions=tuple(sorted(plain["versions"].items())))


@dataclass(frozen=True, slots=True)
class Kept:
    """A run as it stands in the store, with what takes a while to compute; see `Run.name` and `Run.key`."""

    run: Run
    name: str
    key: tuple[object, ...]


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
    engine: str = EAGER,
    url: str | None = None,
) -> Evaluation:
    """What `evaluate` says of the recipe: from the store if it was measured before, else measured now and kept.

    A latency comes from the store only if it was measured on this machine. `engine` is the key of the engine the
    compressed model runs in; an engine's answers depend on the machine too. With a gate, a run on fewer images will do
    where the gate says so.

    Raises:
        VitEdgeError: As `evaluate`, or the store is out of reach.
        Unneeded: The gate said so.
        Cancelled: Nothing is kept.
    """
    from vitedge_core.backends import engine as named
    from vitedge_core.experiments.evaluate import can_gaze, evaluate, images_for, tested_on

    title, chosen = named(engine).title, images_for(recipe.model, images)
    gaze = gaze and engine == EAGER and can_gaze(recipe.model, chosen)
    digest = tested_on(recipe, chosen, engine).digest
    known = find(recipe, digest, limit, latency=latency, gaze=gaze, engine=title, url=url)
    known = known or _short(recipe, digest, gate, latency=latency, gaze=gaze, url=url)
    if known:
        report(1.0, "Measured before.")
        return known.evaluation
    start = time.monotonic()
    evaluation = evaluate(
        recipe, chosen, limit, latency, gaze=gaze, gate=gate, report=report, cancelled=cancelled, engine=engine
    )  # fmt: skip
    seconds = time.monotonic() - start
    weights = _weights(recipe.model)  # only now: the first use may have fetched them
    asked = evaluation.n if gate is not None and evaluation.n in gate.rungs else limit
    run = Run(evaluation, asked, chosen.title, weights, time.time(), seconds, origin, title, machine(), versions())
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


def all_runs(url: str | None = None, *, engine: str | None = ENGINE) -> tuple[Run, ...]:
    """The runs, oldest first; of repetitions the latest, but an own, a timed one, one that knows where it looks.

    `engine` is the title of the one they ran in, None for runs in any: latencies of different engines say as much of
    the engines as of the recipes.
    """
    runs: dict[tuple[object, ...], Run] = {}
    for one in kept(url):
        run, other = one.run, runs.get(one.key)
        if engine in {None, run.engine} and (other is None or _worth(run) >= _worth(other)):
            runs[one.key] = run
    return tuple(sorted(runs.values(), key=lambda run: run.time))


def _worth(run: Run) -> tuple[bool, bool, bool]:
    return not run.imported, run.timed, run.gazed


def find(
    recipe: Recipe, digest: str, limit: int | None, *, latency: bool = False, gaze: bool = False,
    url: str | None = None, engine: str = ENGINE,
) -> Run | None:  # fmt: skip
    """The latest run of this recipe, with the weights its model has now; None if there is none, or it was imported.

    Args:
        recipe: Steps that are switched off do not matter.
        digest: Of the images it is tested on.
        limit: How many of the images; the run must have been asked for as many or have seen exactly as many.
        latency: Whether it must know the latency too, measured on this machine.
        gaze: Whether it must know where the model looks.
        url: Of the store.
        engine: Title of the engine it ran in. An engine but PyTorch must have run on this machine with the libraries of
            now: its numbers depend on both.
    """
    weights = _weights(recipe.model)
    for run in reversed(_kept(url)):
        same = run.recipe.digest == recipe.digest and run.weights == weights and run.evaluation.digest == digest
        enough = limit in {run.limit, run.evaluation.n} and _ran_in(run, engine) and not run.imported
        if same and enough and run.timed_here >= latency and run.gazed >= gaze:
            return run
    return None


def _ran_in(run: Run, engine: str) -> bool:
    here = run.machine == machine() and run.versions == versions()
    return run.engine == engine and (engine == ENGINE or here)


def usual_seconds(model: str, limit: int | None, *, latency: bool, engine: str = ENGINE) -> float | None:
    """Median time such runs of a model took on this machine in the engine of that title; None before the first."""
    times = sorted(
        run.seconds
        for run in _kept(None)
        if run.recipe.model == model
        and run.limit == limit
        and run.timed == latency
        and run.machine == machine()
        and run.engine == engine
        and not run.imported
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


def kept(url: str | None = None) -> tuple[Kept, ...]:
    """Every run that is not deleted, in the order in which they were stored, repetitions too.

    Raises:
        VitEdgeError: The store is out of reach.
    """
    where = url or storage_url()
    with stored():
        trials = study(STUDY, where, create=True).get_trials(deepcopy=False)
    gone = notes(where).deleted
    found = [one for trial in trials if (one := _parse(where, trial)) and one.name not in gone]
    return tuple({one.name: one for one in found}.values())  # two processes that import one file may both store it


def _kept(url: str | None) -> list[Run]:
    return [one.run for one in kept(url)]


def _parse(url: str, trial: FrozenTrial) -> Kept | None:
    """A stored trial as a run; None for what another version left there. Finished trials never change."""
    key = (url, trial._trial_id)  # noqa: SLF001  the only name of a trial that is unique in a store
    if key not in _parsed:
        try:
            run = Run.from_dict(trial.user_attrs["run"])
            _parsed[key] = Kept(run, run.name, run.key)
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
        {name: Quantity.from_dict(figure) for name, figure in plain["baseline"].items()},
        {name: Quantity.from_dict(figure) for name, figure in plain["compressed"].items()},
        Quantity.from_dict(plain["difference"]), plain["ratio"] and Quantity.from_dict(plain["ratio"]),
        tuple(plain["notes"]),
    )  # fmt: skip
