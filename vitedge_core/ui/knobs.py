"""Recipes of one kind, their knobs beside what came of them, and which knob mattered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.text.human import human, interval
from vitedge_core.ui import cache, layout, quantity, saving, waiting, words
from vitedge_core.ui.objectives import OBJECTIVES

if TYPE_CHECKING:
    from vitedge_core.experiments.importance import Kind, Settings
    from vitedge_core.experiments.points import Point
    from vitedge_core.recipe import Scalar

MOST_LINES = 7  # knobs side by side; more axes cannot be read


def _kind(found: Sequence[Point]) -> tuple[Point, ...]:
    """The recipes of the kind a person chose; none where nothing is compressed."""
    from vitedge_core.experiments.importance import kinds

    grouped = kinds(found)
    if not grouped:
        layout.empty("tune", "Only uncompressed models were measured here. Sweep a recipe first.")
        return ()
    named = {_name(kind, len(own)): own for kind, own in grouped.items()}
    chosen = st.selectbox(
        "Recipes of one kind", list(named), key="pareto-kind", disabled=len(named) < 2,
        help="The same model and the same methods in the same order: only these have the same knobs.",
    )  # fmt: skip
    return named[chosen]


def _name(kind: Kind, count: int) -> str:
    model, *techniques = kind
    known = cache.catalogue()
    steps = [known[key].card.title if key in known else key for key in techniques]
    return f"{model} → {' → '.join(steps)} ({count} recipe{'' if count == 1 else 's'})"


def _label(knob: str) -> str:
    """A knob's name for people: "1 tome.r" becomes "1. Tokens merged in each block"."""
    place, _, rest = knob.partition(" ")
    technique, _, name = rest.rpartition(".")
    return f"{place}. {cache.labels_of(technique).get(name, name)}"


def side_by_side(found: Sequence[Point]) -> None:
    """Parallel coordinates: the knobs that vary, then the objectives."""
    from vitedge_core.experiments.importance import settings, varied
    from vitedge_core.plots.knobs import Line, parallel

    own = _kind(found)
    if not own:
        return
    chosen = [settings(point.recipe) for point in own]
    names = varied(chosen)[:MOST_LINES]
    if not names:
        layout.empty("tune", "No knob varies among these recipes, so there is nothing to set side by side. Sweep one.")
        return
    lines = [Line(_label(name), *_values([one.get(name) for one in chosen])) for name in names]
    for axis in dict.fromkeys((*own[0].axes, "accuracy")):
        objective = OBJECTIVES[axis]
        lines.append(Line(objective.name, tuple(p.figures[axis].value for p in own), format=objective.format))
    alt = f"{len(own)} recipes as lines through {len(names)} knobs and their objectives, coloured by accuracy."
    figure = parallel(lines, [point.accuracy.value for point in own], "Accuracy")
    table = [{**{_label(n): one.get(n) for n in names}, **words.row(p)} for one, p in zip(chosen, own, strict=True)]
    quantity.chart(figure, table, "pareto-parallel", alt, config=saving.camera("knobs"))
    st.caption(
        "Every line is a measured recipe. Drag along an axis to keep only the lines that cross it there; drag on "
        "several axes to combine; click an axis to let go; drag a name to move its axis."
    )
    saving.save("knobs", figure, "Knobs and what came of them", alt)


def _values(values: Sequence[Scalar | None]) -> tuple[tuple[float | str, ...], bool]:
    """Values of one knob for an axis, and whether they are words."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return tuple(value if numbers else str(value) for value in values), not numbers  # type: ignore[return-value]


def _importances(chosen: Sequence[Settings], gains: Sequence[float]) -> dict[str, Quantity] | None:
    """The importances, worked out in the background; None while they are not there."""
    from vitedge_core.experiments.importance import importances

    named = hashlib.sha256(repr((chosen, gains)).encode()).hexdigest()
    return waiting.result_of(
        ("importance", named),
        lambda report, cancelled: importances(chosen, gains, report=report, cancelled=cancelled),
        "Work out which knob matters", "Some seconds: a random forest learns it from the measured recipes.",
        by_itself=True,
    )  # fmt: skip


def which_matters(found: Sequence[Point]) -> None:
    """How much of the differences of the second objective each knob explains."""
    from vitedge_core.experiments.importance import FEWEST, missing, settings, varied
    from vitedge_core.plots.knobs import explained

    own = _kind(found)
    if not own:
        return
    chosen = [settings(point.recipe) for point in own]
    names, lacking, gain = varied(chosen), missing(chosen), OBJECTIVES[own[0].axes[1]].name
    if not names or lacking:
        layout.empty("hourglass_empty", "No knob varies among these recipes. Sweep one." if not names else (
            f"{len(names)} knob{'s vary' if len(names) > 1 else ' varies'} among these {len(own)} recipes; {lacking} "
            f"more are needed to tell their effects from chance ({FEWEST} for each knob)."
        ))  # fmt: skip
        return
    shares = _importances(chosen, [point.gain.value for point in own])
    if shares is None:
        return
    first, largest = next(iter(shares.items()))
    st.markdown(f"**{_label(first)}** explains {human(largest)} of the differences in {gain.lower()} "
                f"{quantity.badge(Evidence.PREDICTED)}")  # fmt: skip
    named = [(_label(name), share) for name, share in shares.items()]
    table: list[dict[str, Any]] = [
        {"Knob": name, "Explains": human(share), "Over resamples": interval(share)} for name, share in named
    ]
    alt = f"How much of the differences in {gain.lower()} each knob explains; {named[0][0]} most, {human(largest)}."
    figure = explained(named)
    quantity.chart(figure, table, "pareto-importance", alt, config=saving.camera("importance"))
    st.caption(
        f"Computed by {largest.source}. What knobs do only together is shared out to none of them but scaled away, so "
        "the bars sum to 100 %. It tells what mattered in the ranges that were swept, not elsewhere."
    )
    saving.save("importance", figure, "Which knob matters", f"{alt} {largest.source}.")
