"""The What broke page: measuring in the background, and the verdict in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.recipe import Recipe
from vitedge_core.text.human import human, interval
from vitedge_core.ui import measuring, state, waiting
from vitedge_core.ui.worker import Report

if TYPE_CHECKING:
    from vitedge_core.evidence import Quantity
    from vitedge_core.experiments.what_broke import WhatBroke

LIMITS = {500: "500, a first look", 0: "all"}
PURPOSE = "broke"
SEVERE = -0.05  # change of the accuracy


def found(recipe: Recipe, baseline_macs: float, limit: int) -> WhatBroke | None:
    """What the recipe broke; None while it is measured, or until a person starts it. Draws what to do meanwhile.

    What is cheap starts by itself, as in Build.
    """
    images = state.images()
    return waiting.result_of(
        (PURPOSE, recipe.digest, images, limit),
        lambda report, cancelled: _measure(recipe, images, limit, report, cancelled),
        "Find what broke", "Some seconds for a small model, minutes for a large one or a recipe that trains.",
        by_itself=bool(measuring.automatic(recipe, baseline_macs, images=images)),
    )  # fmt: skip


def _measure(recipe: Recipe, images: str | None, limit: int, report: Report, cancelled: Any) -> WhatBroke:
    from vitedge_core.experiments.what_broke import what_broke

    measuring.leave_a_core()
    return what_broke(recipe, images, limit or None, report=report, cancelled=cancelled)


def verdict(broke: WhatBroke) -> None:
    """What happened, in plain words, coloured by how much of the accuracy went."""
    lost = broke.agreement.difference
    text = " ".join((_where(broke), _answers(broke), _sight(broke), _class(broke)))
    if not below(lost):
        st.success(text, icon=":material/check_circle:")
    elif _severe(broke):
        st.error(text, icon=":material/heart_broken:")
    else:
        st.warning(text, icon=":material/healing:")


def _severe(broke: WhatBroke) -> bool:
    """Whether so much of the accuracy is gone that nobody would ship the model."""
    lost = broke.agreement.difference
    return below(lost) and lost.value <= SEVERE


def below(change: Quantity) -> bool:
    """Whether a change is a loss that chance does not explain."""
    return change.high is not None and change.high < 0


def clear(change: Quantity) -> bool:
    """Whether a change is more than chance."""
    return change.excludes(0)


def _where(broke: WhatBroke) -> str:
    """Where it falls apart."""
    drift = broke.divergence
    known = [layer for layer in drift.layers if layer.sqnr is not None]
    if drift.first is not None and drift.first.sqnr is not None:
        fate = "is where it falls apart" if _severe(broke) else "is the first to fall off"
        told = f"**{drift.first.name} {fate}**: {_error(drift.first.sqnr)}"
        guilty = drift.guilty
        if guilty is not None and guilty is not drift.first and guilty.alone is not None:
            how = "the removed" if guilty.removed else "by itself"
            told += f"; most damage is done by {how} {guilty.name[0].lower()}{guilty.name[1:]}"
        return f"{told}."
    if not known:
        return "Nothing of the network could be compared layer by layer."
    worst = min(known, key=lambda layer: layer.sqnr.value)  # type: ignore[union-attr]
    assert worst.sqnr is not None
    return f"**No {drift.kind} falls off**: {worst.name} strays furthest, {_error(worst.sqnr)}."


def _error(sqnr: Quantity) -> str:
    """An SQNR in words."""
    return f"{_percent(10 ** (-sqnr.value / 10))} of its output's energy is error ({human(sqnr)})"


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{share:.1%}".replace("%", " %")


def _answers(broke: WhatBroke) -> str:
    flips, lost = broke.agreement.flips, broke.agreement.difference
    if flips.same.value == 1:
        return f"Every one of {broke.n:,} answers is the same as before."
    return (
        f"{human(flips.newly_wrong)} of the answers turn wrong and {human(flips.newly_right)} turn right: accuracy "
        f"changes by {human(lost, signed=True)} ({interval(lost, signed=True)})."
    )


def _sight(broke: WhatBroke) -> str:
    """Whether it still looks at the object."""
    if broke.gaze is None:
        return ""
    hits, mass = broke.gaze.hits, broke.gaze.mass
    if below(hits.change):
        return f"It points at the object on {human(hits.after)} of the images instead of {human(hits.before)}."
    if below(mass.change):
        return (
            f"It still points at the object, but with {human(mass.after)} of its attention, not {human(mass.before)}."
        )
    return f"It looks at the object as it did before, on {human(hits.after)} of the images."


def _class(broke: WhatBroke) -> str:
    worst = broke.agreement.worst
    if worst is None:
        return ""
    if worst.clear:
        return f"Hardest hit is the class “{worst.name}”: {human(worst.change, signed=True)}."
    return f"The class “{worst.name}” lost most, {human(worst.change, signed=True)}, which chance could explain."
