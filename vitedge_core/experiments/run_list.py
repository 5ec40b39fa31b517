"""The list of runs: each with its name and tags, filtered and picked by the beginning of a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from vitedge_core.errors import VitEdgeError, unknown
from vitedge_core.experiments.run_notes import notes
from vitedge_core.experiments.runs import Run, kept
from vitedge_core.models.zoo import called

IMPORTED = "imported"  # stands among the origins, for runs that came in a file
_SHORTEST = 4  # letters that may name a run


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the list."""

    name: str
    run: Run
    tags: tuple[str, ...] = ()

    @property
    def origins(self) -> tuple[str, ...]:
        """What the filter of origins knows it by."""
        return (self.run.origin, IMPORTED) if self.run.imported else (self.run.origin,)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs to list: those that meet every wish; an empty one wishes nothing.

    models, techniques (keys), images (digests), origins, engines, tags: one of them. words: all of them, somewhere.
    since, until: seconds since 1970; until is not included.
    """

    models: Sequence[str] = ()
    techniques: Sequence[str] = ()
    images: Sequence[str] = ()
    origins: Sequence[str] = ()
    engines: Sequence[str] = ()
    tags: Sequence[str] = ()
    words: str = ""
    since: float | None = None
    until: float | None = None

    def __call__(self, entry: Entry) -> bool:
        """Whether the run is wished for."""
        run = entry.run
        wishes = (
            (self.models, (run.recipe.model,)),
            (self.techniques, [step.technique for step in run.recipe.active]),
            (self.images, (run.evaluation.digest,)),
            (self.origins, entry.origins),
            (self.engines, (run.engine,)),
            (self.tags, entry.tags),
        )
        if any(wanted and not set(wanted) & set(has) for wanted, has in wishes):
            return False
        in_time = (self.since is None or run.time >= self.since) and (self.until is None or run.time < self.until)
        return in_time and self._says(entry)

    def _says(self, entry: Entry) -> bool:
        if not self.words.strip():
            return True
        run = entry.run
        knobs = [f"{step.technique} {name}={value}" for step in run.recipe.active for name, value in step.params]
        methods = [text for step in run.recipe.active for text in (step.technique, _spoken(step.technique))]
        texts = [run.recipe.model, called(run.recipe.model), *methods, *knobs, run.title, *entry.origins]
        text = " ".join([*texts, run.engine, run.machine, *entry.tags, *run.evaluation.notes, entry.name]).casefold()
        return all(word in text for word in self.words.casefold().split())


@cache
def _spoken(technique: str) -> str:
    """What pages call a method and its knobs; empty if nobody knows it any more."""
    import vitedge_core.techniques  # noqa: F401  importing registers them
    from vitedge_core import registry

    known = next((cls for cls in registry.techniques() if cls.card.key == technique), None)
    return " ".join([known.card.title, *(knob.label for knob in known.knobs())]) if known else ""


def entries(url: str | None = None) -> tuple[Entry, ...]:
    """Every run that is not deleted, repetitions too, the latest first.

    Raises:
        VitEdgeError: The store is out of reach.
    """
    tags = notes(url).tags
    found = [Entry(one.name, one.run, tags.get(one.name, ())) for one in kept(url)]
    return tuple(sorted(found, key=lambda entry: -entry.run.time))


def picked(known: Iterable[Entry], names: Sequence[str]) -> tuple[Entry, ...]:
    """The runs of these names, in this order; a name may be cut short where it stays clear.

    Raises:
        VitEdgeError: There is no such run, or more than one.
    """
    by_name = {entry.name: entry for entry in known}
    found = {}
    for name in names:
        fitting = [whole for whole in by_name if whole == name or (len(name) >= _SHORTEST and whole.startswith(name))]
        if not fitting:
            raise unknown("run", name, by_name)
        if len(fitting) > 1:
            raise VitEdgeError(f"{len(fitting)} runs begin with {name!r}; write more of the name.")
        found[fitting[0]] = by_name[fitting[0]]
    return tuple(found.values())
