"""The catalogue of techniques by key. Filled by importing `vitedge_core.techniques`."""

from __future__ import annotations

from typing import Any, TypeVar

from vitedge_core.errors import unknown

_known: dict[str, type[Any]] = {}
Class = TypeVar("Class", bound=type[Any])


def register(cls: Class) -> Class:
    """Class decorator: put a technique into the catalogue under its card's key, which is also its file's name."""
    key = cls.card.key
    if key in _known:
        raise ValueError(f"two techniques are called {key}")
    if cls.__module__.rpartition(".")[2] != key:
        raise ValueError(f"the technique {key} must live in {key}.py, not in {cls.__module__}")
    _known[key] = cls
    return cls


def technique(key: str) -> type[Any]:
    """The technique class of that key.

    Raises:
        VitEdgeError: Nobody knows it; the sentence names the nearest.
    """
    if key not in _known:
        raise unknown("technique", key, _known)
    return _known[key]


def techniques() -> tuple[type[Any], ...]:
    """All of them, by family and then in alphabetical order of their titles."""
    return tuple(sorted(_known.values(), key=lambda cls: (cls.card.family.order, cls.card.title)))
