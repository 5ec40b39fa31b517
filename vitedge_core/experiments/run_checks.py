"""A run from a stranger's file: every value is checked, and every figure says that it was imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.evaluation import Evaluation
from vitedge_core.experiments.runs import Run

MAX_TEXT = 500  # characters of a text
MAX_FIGURES = 40  # on a side
MAX_NUMBER = 1e30
NEEDED = {"accuracy": "share", "macs": "MAC"}  # figures that no run lacks, in their units
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LATEST = 4e9  # seconds since 1970: the year 2096

Check = Callable[[object], bool]


def checked(plain: object) -> Run:
    """The run such values describe, marked as imported.

    Raises:
        VitEdgeError: Something is missing, unknown, of the wrong kind, or too large; the sentence says what.
    """
    top = _object(plain, "the run", _RUN)
    measured = _object(top["evaluation"], "the evaluation", _EVALUATION)
    for side in ("baseline", "compressed"):
        _figures(measured[side], side)
    _figure(measured["difference"], "the difference")
    if measured["ratio"] is not None:
        _figure(measured["ratio"], "the ratio of latencies")
    try:
        run = Run.from_dict(_clean(top))
    except VitEdgeError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VitEdgeError(f"It cannot be read: {str(error)[:120]}.") from error
    return replace(run, evaluation=_marked(run.evaluation), imported=True)


def _marked(evaluation: Evaluation) -> Evaluation:
    """The same figures, which say that nobody here measured them."""
    sides = {
        side: {name: _imported(figure) for name, figure in getattr(evaluation, side).items()}
        for side in ("baseline", "compressed")
    }
    ratio = evaluation.ratio and _imported(evaluation.ratio)
    return replace(evaluation, **sides, difference=_imported(evaluation.difference), ratio=ratio)


def _imported(figure: Quantity) -> Quantity:
    if figure.evidence is Evidence.IMPORTED:
        return figure
    return replace(figure, evidence=Evidence.IMPORTED, source=f"imported; there: {figure.evidence}, {figure.source}")


def _object(value: object, what: str, checks: Mapping[str, Check]) -> dict[str, Any]:
    """A JSON object that holds these keys, each with a value that passes, and no others; "imported" may be absent."""
    if not isinstance(value, dict):
        raise VitEdgeError(f"In place of {what} stands something else.")
    filled = {"imported": False, **value} if "imported" in checks else value
    if odd := sorted(set(map(str, filled)) ^ set(checks)):
        raise VitEdgeError(f"{what[:1].upper()}{what[1:]} lacks or should not have {odd[0][:40]!r}.")
    for name, passes in checks.items():
        if not passes(filled[name]):
            raise VitEdgeError(f"The value of {name!r} in {what} is of the wrong kind, or too large.")
    return filled


def _figures(side: dict[str, Any], what: str) -> None:
    if len(side) > MAX_FIGURES or not all(_NAME.fullmatch(name) for name in side):
        raise VitEdgeError(f"The {what} has more than {MAX_FIGURES} figures, or one with an impossible name.")
    for name, figure in side.items():
        if _figure(figure, name)["value"] < 0:
            raise VitEdgeError(f"The {name} of the {what} is below zero.")
    for name, unit in NEEDED.items():
        if side.get(name, {}).get("unit") != unit:
            raise VitEdgeError(f"The {what} has no {name} in {unit}s.")
    if not 0 <= side["accuracy"]["value"] <= 1:
        raise VitEdgeError(f"The accuracy of the {what} is no share from 0 to 1.")


def _figure(value: object, what: str) -> dict[str, Any]:
    return _object(value, what, _QUANTITY)


def _clean(value: Any) -> Any:
    """The same with texts that markdown shows as they are: no link, no picture from somewhere else."""
    if isinstance(value, str):
        return value.replace("](", "] (")
    if isinstance(value, list):
        return [_clean(part) for part in value]
    return {name: _clean(part) for name, part in value.items()} if isinstance(value, dict) else value


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER  # no NaN either


def _maybe(passes: Check) -> Check:
    return lambda value: value is None or passes(value)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10**9


def _moment(value: object) -> bool:
    return isinstance(value, int | float) and _number(value) and 0 <= value <= _LATEST


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= 20 and all(map(_text, value))


def _versions(value: object) -> bool:
    return isinstance(value, dict) and len(value) <= 20 and all(_text(k) and _text(v) for k, v in value.items())


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_RUN: dict[str, Check] = {
    "format": _number, "evaluation": _is_object, "limit": _maybe(_count), "title": _text, "weights": _text,
    "time": _moment, "seconds": _moment, "origin": _text, "engine": _text, "machine": _text, "versions": _versions,
    "imported": lambda value: isinstance(value, bool),
}  # fmt: skip
_EVALUATION: dict[str, Check] = {
    "recipe": _is_object, "images": _text, "digest": _text, "n": _count, "baseline": _is_object,
    "compressed": _is_object, "difference": _is_object, "ratio": _maybe(_is_object), "notes": _texts,
}  # fmt: skip
_QUANTITY: dict[str, Check] = {
    "value": _number, "unit": _text, "source": _text, "low": _maybe(_number), "high": _maybe(_number),
    "evidence": lambda value: isinstance(value, str) and value in set(Evidence),
}  # fmt: skip
