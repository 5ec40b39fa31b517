"""The catalogue of methods, drawn from their cards and docstrings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import Recipe, Step
from vitedge_core.text.cards import arxiv_link, manual
from vitedge_core.ui import cache, layout, state

if TYPE_CHECKING:
    from vitedge_core.techniques.base import Knob, Technique

EVERY = "All"


def families(catalogue: Mapping[str, type[Technique]]) -> list[str]:
    """The families that have a method, in their order, and a word for all of them."""
    return [EVERY, *dict.fromkeys(cls.card.family.value for cls in catalogue.values())]


def chosen(catalogue: Mapping[str, type[Technique]], family: str | None, words: str) -> list[type[Technique]]:
    """The methods of a family whose card or manual holds every word that was typed."""
    wanted = words.lower().split()
    return [
        cls for cls in catalogue.values()
        if family in {None, EVERY, cls.card.family.value}
        and all(word in _searched(cls) for word in wanted)
    ]  # fmt: skip


def _searched(cls: type[Technique]) -> str:
    card = cls.card
    return " ".join((card.key, card.title, card.family.value, card.reference, cls.__doc__ or "")).lower()


def method(cls: type[Technique], *, opened: bool) -> None:
    """The page of one method: what it is at a glance, and the whole manual behind it."""
    card, text = cls.card, manual(cls.__doc__)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(card.title, anchor=card.key, width="stretch")
            st.badge(card.family.value, color="blue")
            if card.calibrates:
                st.badge("looks at images", icon=":material/image:", color="gray")
            if card.trains:
                st.badge("trains", icon=":material/model_training:", color="gray")
            if st.button("Try it", key=f"try-{card.key}", icon=":material/add:", help="Adds it to your recipe."):
                _try(card.key)
        st.markdown(text.lead)
        if card.measured:
            st.markdown(f":green-badge[:material/straighten: measured] {card.measured}")
        st.caption(f"{card.reference} {arxiv_link(card.arxiv)}")
        details = st.expander("How it works, its limits and its knobs", key=f"about-{card.key}", expanded=opened,
                              on_change="rerun")  # fmt: skip
        if details.open:
            with details:
                _details(cls)


def _details(cls: type[Technique]) -> None:
    text = manual(cls.__doc__)
    told, knobs = st.columns([3, 2], gap="large")
    with told:
        for heading, body in text.sections:
            st.markdown(f"**{heading}**")
            st.markdown(body)
        if cls.card.differs:
            st.markdown("**Departures from the paper**")
            st.markdown("\n".join(f"- {sentence}" for sentence in cls.card.differs))
    with knobs:
        st.markdown("**Knobs**")
        st.table([_knob_row(knob) for knob in cls.knobs()], hide_index=True, border="horizontal",
                 alt=f"Knobs of {cls.card.title}")  # fmt: skip
        st.markdown("**Bundled models**")
        st.markdown("\n".join(f"- {line}" for line in cache.supported(cls.card.key)))


def _knob_row(knob: Knob) -> dict[str, str]:
    return {"Knob": f"**{knob.label}** `{knob.name}`", "Values": allowed(knob), "What it does": knob.help}


def allowed(knob: Knob) -> str:
    """What a knob may be, in words, and what it is at first."""
    if knob.options:
        return f"{', '.join(dict.fromkeys(knob.options))} ({knob.default})"
    if isinstance(knob.default, bool):
        return f"on or off ({'on' if knob.default else 'off'})"
    if isinstance(knob.default, str):
        return f"text ({knob.default or 'empty'})"
    return f"{knob.low:g} to {knob.high:g} ({knob.default:g})"


def _try(key: str) -> None:
    try:
        state.add_step(Step.of(key))
    except VitEdgeError as error:
        state.notice(str(error))
    st.switch_page("pages/build.py")


def support(key: str, models: Sequence[str]) -> list[str]:
    """One line for each model: that the method works on it, or why not."""
    from vitedge_core.compress import plan_recipe

    lines = []
    for model in models:
        problems = plan_recipe(Recipe(model, (Step.of(key),))).problems
        name = cache.model_title(model)
        lines.append(f":material/check: {name}" if not problems else f":material/close: {name}: {problems[0]}")
    return lines


def facts(title: str, rows: Sequence[Mapping[str, Any]], key: str, *, height: int | None = None) -> None:
    """A table of facts with a name for those who do not see it."""
    if not rows:
        layout.empty("hourglass_empty", f"{title}: nothing yet.")
        return
    links = {"Link": st.column_config.LinkColumn(display_text=r"arxiv\.org/abs/(.*)")}
    st.dataframe(list(rows), hide_index=True, key=key, alt=title, height=height or "auto", column_config=links)
