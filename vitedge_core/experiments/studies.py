"""Which sweep a recipe belongs to, so that several sweeps can be told apart on one chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments import jobs
from vitedge_core.experiments.points import digest
from vitedge_core.experiments.runs import Run
from vitedge_core.experiments.space import Space
from vitedge_core.experiments.store import storage_url, stored, study
from vitedge_core.experiments.sweep import KIND
from vitedge_core.recipe import Scalar

NEWEST = 12  # sweeps that are looked at: a chart with more colours tells nothing


@dataclass(frozen=True, slots=True)
class Membership:
    """A sweep with the recipes it measured or found measured.

    title: for people, told apart by number where alike. engine: title of the one that it measured in.
    """

    name: str
    title: str
    engine: str
    recipes: frozenset[str]


def memberships(url: str | None = None) -> tuple[Membership, ...]:
    """The newest sweeps, the newest first; a sweep that another version made is left out."""
    found = []
    for job in jobs.jobs(KIND, url)[:NEWEST]:
        title, recipes = _recipes(job.name, url)
        if recipes:
            found.append(Membership(job.name, job.title, title, recipes))
    return _told_apart(found)


def attributed(runs: Sequence[Run], sweeps: Sequence[Membership]) -> tuple[Run, ...]:
    """The runs with the title of the newest sweep that holds their recipe as origin; others keep who measured them."""
    titles = {(key, sweep.engine): sweep.title for sweep in reversed(sweeps) for key in sweep.recipes}
    return tuple(
        replace(run, origin=titles.get((digest(run.recipe), run.engine), run.origin or "elsewhere")) for run in runs
    )


def _recipes(name: str, url: str | None) -> tuple[str, frozenset[str]]:
    """Title of its engine, and the recipes."""
    from vitedge_core.backends import engine

    home = study(name, url)
    plain = jobs.attributes(home).get("space")
    with stored():
        trials = home.get_trials(deepcopy=False)
    where = url or storage_url()
    try:
        space = Space.from_dict(plain)
        done = [tuple(sorted(trial.params.items())) for trial in trials if trial.state.name == "COMPLETE"]
        return engine(space.engine).title, frozenset(_digest(where, name, space, values) for values in done)
    except (VitEdgeError, KeyError, TypeError):
        return "", frozenset()


@lru_cache(65_536)
def _digest(_where: str, _name: str, space: Space, values: tuple[tuple[str, Scalar], ...]) -> str:
    return space.at(dict(values)).digest


def _told_apart(sweeps: Sequence[Membership]) -> tuple[Membership, ...]:
    """Titles with a number, the oldest first, where several sweeps have the same."""
    titles = [sweep.title for sweep in sweeps]
    numbered = []
    for place, sweep in enumerate(sweeps):
        older = titles[place + 1 :].count(sweep.title)
        alike = titles.count(sweep.title) > 1
        numbered.append(replace(sweep, title=f"{sweep.title} ({older + 1})") if alike else sweep)
    return tuple(numbered)
