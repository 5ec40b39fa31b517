"""What is noted about runs after they were measured: tags, and that they are deleted.

A finished trial of Optuna can be neither changed nor removed. So notes are a log in a study of its own: each event is
one trial that is only ever added, whole or not at all, and no process overwrites what another one noted. A deleted run
stays in the store, marked, which makes every deletion undoable.

There is no way to purge it. Optuna removes studies only as a whole, and to copy the other runs into a new study would
lose what another process records meanwhile. So a deleted run keeps its space, some kilobytes, with all its figures,
its tags and the notes of its deletion, until the whole store is removed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.store import storage_url, stored, study

STUDY = "vitedge run notes"
MOST_TAGS = 12  # of one run
_TAG = re.compile(r"[\w .:/+#=-]{1,40}")
_read: dict[str, tuple[int, Notes]] = {}


@dataclass(frozen=True, slots=True)
class Notes:
    """What is noted now.

    deleted: names of runs that are not shown any more. tags: by the name of the run, in order. last: the runs of the
    latest deletion that was not undone.
    """

    deleted: frozenset[str] = frozenset()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    last: tuple[str, ...] = ()


def notes(url: str | None = None) -> Notes:
    """The notes about all runs.

    Raises:
        VitEdgeError: The store is out of reach.
    """
    where = url or storage_url()
    with stored():
        trials = study(STUDY, where, create=True).get_trials(deepcopy=False)
    known = _read.get(where)
    if known is None or known[0] != len(trials):
        known = _read[where] = len(trials), _replayed([trial.user_attrs.get("note", {}) for trial in trials])
    return known[1]


def delete(names: Collection[str], url: str | None = None) -> None:
    """Have these runs deleted; `undo` brings them back."""
    _note({"delete": sorted(names)}, url)


def restore(names: Collection[str], url: str | None = None) -> None:
    """Have these runs shown again."""
    _note({"restore": sorted(names)}, url)


def undo(url: str | None = None) -> tuple[str, ...]:
    """Take the latest deletion back; returns the names of its runs.

    Raises:
        VitEdgeError: Nothing is deleted.
    """
    last = notes(url).last
    if not last:
        raise VitEdgeError("No deletion is left to undo.")
    restore(last, url)
    return last


def tag(
    names: Collection[str], add: Collection[str] = (), remove: Collection[str] = (), url: str | None = None
) -> None:  # fmt: skip
    """Give these runs tags, or take some away.

    Raises:
        VitEdgeError: A tag is no short text, or a run would have too many.
    """
    more = tuple(map(checked_tag, add))
    tags = notes(url).tags
    for name in names:
        if len((set(tags.get(name, ())) - set(remove)) | set(more)) > MOST_TAGS:
            raise VitEdgeError(f"A run has at most {MOST_TAGS} tags; take one away first.")
    _note({"tag": sorted(names), "add": sorted(more), "remove": sorted(remove)}, url)


def checked_tag(text: str) -> str:
    """The tag without spaces around it.

    Raises:
        VitEdgeError: It is no tag.
    """
    word = text.strip()
    if not _TAG.fullmatch(word):
        raise VitEdgeError(
            f"A tag has 1 to 40 letters, digits, spaces or any of . : / + # = - _; {word[:50]!r} has not."
        )
    return word


def _note(event: dict[str, Any], url: str | None) -> None:
    from optuna.trial import TrialState, create_trial

    with stored():
        trial = create_trial(state=TrialState.FAIL, user_attrs={"note": {**event, "time": time.time()}})
        study(STUDY, url, create=True).add_trial(trial)


def _replayed(events: Sequence[dict[str, Any]]) -> Notes:
    """What the events come to, in the order in which they were stored."""
    deletions: list[list[str]] = []
    tags: dict[str, set[str]] = {}
    for event in events:
        if "delete" in event:
            deletions.append(event["delete"])
        back = set(event.get("restore", ()))
        deletions = [left for deletion in deletions if (left := [name for name in deletion if name not in back])]
        for name in event.get("tag", ()):
            tags[name] = (tags.get(name, set()) - set(event["remove"])) | set(event["add"])
    return Notes(
        frozenset(name for deletion in deletions for name in deletion),
        {name: tuple(sorted(words)) for name, words in tags.items() if words},
        tuple(deletions[-1]) if deletions else (),
    )
