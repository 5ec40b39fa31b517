"""The one exception a person may see: a sentence that says what is wrong and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class VitEdgeError(Exception):
    """A problem the user can solve. Its text is shown as it is, so it must be one clear sentence."""


class Cancelled(VitEdgeError):  # noqa: N818  it is no error of anybody's
    """The user asked a long computation to stop."""

    def __init__(self, message: str = "Cancelled; nothing was changed.") -> None:
        super().__init__(message)


class Unneeded(VitEdgeError):  # noqa: N818  it is no error of anybody's
    """A measurement would show nothing that is not known; the sentence says why."""


def unknown(kind: str, name: str, known: Iterable[str]) -> VitEdgeError:
    """The error for a name nobody knows, with the nearest names that exist."""
    names = sorted(known)
    shown = name if len(name) <= 60 else name[:57] + "..."
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    if near:
        return VitEdgeError(f"There is no {kind} {shown!r}; did you mean {' or '.join(map(repr, near))}?")
    some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return VitEdgeError(f"There is no {kind} {shown!r}; known are {some or 'none'}.")
