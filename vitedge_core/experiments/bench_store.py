"""Rows of benchmarks, kept with what they rest on, and found again on the same machine with the same libraries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.bench_rows import BenchRow
from vitedge_core.experiments.store import storage_url, stored, study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STUDY = "vitedge benchmarks"
_parsed: dict[tuple[str, int], BenchRow | None] = {}


def record(row: BenchRow, url: str | None = None) -> None:
    """Keep a row that has figures."""
    import optuna

    if row.speed is None:
        raise ValueError("a row without figures is not kept")
    trial = optuna.trial.create_trial(values=[row.speed.ratio.value], user_attrs={"row": row.to_dict()})
    with stored():
        study(STUDY, url, create=True, directions=("minimize",)).add_trial(trial)


def rows(url: str | None = None) -> list[BenchRow]:
    """Every row in the order in which they were kept, repetitions too."""
    where = url or storage_url()
    with stored():
        trials = study(STUDY, where, create=True, directions=("minimize",)).get_trials(deepcopy=False)
    return [row for trial in trials if (row := _parse(where, trial))]


def find(wanted: BenchRow, n: int | None, url: str | None = None) -> BenchRow | None:
    """The latest row of the same recipe, engine, setting, weights, machine and libraries; None if there is none.

    Args:
        wanted: Says what is looked for; its figures do not matter. `images`: those of the agreement.
        n: Images the agreement must have seen, 0 where none is asked for; None for as many as there are.
        url: Of the store.
    """
    key = _key(wanted)
    for row in reversed(rows(url)):
        if _key(row) == key and _agreed(row, wanted.images, n):
            return row
    return None


def _key(row: BenchRow) -> tuple[object, ...]:
    where = replace(row.circumstances, load=0.0, time=0.0)
    return row.recipe.digest, row.engine, row.setting, where


def _agreed(row: BenchRow, images: str, n: int | None) -> bool:
    """Whether it knows the agreement on those images, if that is asked for."""
    return not n or (row.agreement is not None and row.images == images and row.agreement.n == n)


def _parse(url: str, trial: FrozenTrial) -> BenchRow | None:
    """A stored trial as a row; None for what another version left there. Finished trials never change."""
    key = (url, trial._trial_id)  # noqa: SLF001  the only name of a trial that is unique in a store
    if key not in _parsed:
        try:
            _parsed[key] = BenchRow.from_dict(trial.user_attrs["row"])
        except (KeyError, TypeError, ValueError, AttributeError, VitEdgeError):
            _parsed[key] = None
    return _parsed[key]
