"""A budget that a person types: at most so much of a cost, at least so much of a gain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.text.human import human
from vitedge_core.ui import cache, words
from vitedge_core.ui.objectives import OBJECTIVES

if TYPE_CHECKING:
    from vitedge_core.experiments.points import Point


def typed(axes: Sequence[str]) -> dict[str, float]:
    """The limits of these objectives in plain units; those that were left empty are absent."""
    limits = {}
    with st.popover("Budget", icon=":material/straighten:", key="pareto-budget"):
        st.caption("Draws a line at each limit and dims what is beyond it. Empty means no limit.")
        for axis in axes:
            objective = OBJECTIVES[axis]
            number = st.number_input(
                f"{objective.name}, {'at least' if objective.higher else 'at most'} ({objective.typed})",
                min_value=0.0, value=None, step=None, placeholder="no limit", key=f"budget-{axis}",
                persist_state="session",
            )  # fmt: skip
            if number is not None:
                limits[axis] = number * objective.scale
    return limits


def verdict(found: Sequence[Point], limits: dict[str, float]) -> None:
    """The best recipe within the budget in a sentence; nothing without a budget."""
    from vitedge_core.experiments.points import best_within, within

    if not limits:
        return
    best = best_within(found, limits)
    if best is None:
        st.warning(
            f"None of these {len(found)} recipes is within the budget. Allow more, or sweep more recipes.",
            icon=":material/block:",
        )
        return
    inside = sum(within(point, limits) for point in found)
    told = ", ".join(
        f"{OBJECTIVES[axis].name} {human(best.figures[axis])}" for axis in (best.axes[1], best.axes[0], *best.axes[2:])
    )
    st.success(
        f"{inside} of {len(found)} recipes are within the budget. The best of them: **{told}** "
        f"({cache.model_title(best.recipe.model)}: {'; '.join(words.of_recipe(best.recipe))}).",
        icon=":material/emoji_events:",
    )
