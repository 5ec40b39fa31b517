"""What a recipe runs in: the choice below its steps, why an engine cannot have it, and what an engine adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.ui import state
from vitedge_core.ui.recipe_editor import plain

if TYPE_CHECKING:
    from vitedge_core.backends.base import Engine
    from vitedge_core.experiments.runs import Run
    from vitedge_core.plan import Plan

HELP = "Accuracy and latency are those of what really runs there, beside the uncompressed model in eager PyTorch."


def current(plan: Plan) -> str:
    """Key of the engine that the recipe is measured in: the chosen one, or the eager one where that cannot have it."""
    found = _known().get(state.engine())
    return state.EAGER if found is None or why_not(found, plan) else found.key


def why_not(engine: Engine, plan: Plan) -> str | None:
    """None, or the sentence that says what is missing, or why the engine cannot run this recipe."""
    return engine.missing() or engine.supports(plan)


def choice(plan: Plan) -> None:
    """The engines, those that cannot run the recipe at the end; below it what the chosen one does, or why it cannot.

    Args:
        plan: What the recipe makes of the model.
    """
    known = _known()
    if state.engine() not in known:
        state.notice(f"There is no engine {state.engine()!r} here; the recipe runs in {known[state.EAGER].title}.")
        state.set_engine(state.EAGER)
        st.rerun()
    reasons = {key: why_not(engine, plan) for key, engine in known.items()}
    keys = sorted(known, key=lambda key: reasons[key] is not None)  # stable: the catalogue's order within each part
    chosen = state.engine()
    state.fill("engine", chosen)
    st.selectbox(
        "Runs on", keys, key="engine", format_func=lambda key: _named(known[key], reasons[key]), on_change=_chosen,
        help=_help(known, reasons),
    )  # fmt: skip
    reason = reasons[chosen]
    if reason:
        st.markdown(f":orange[:material/block: {plain(reason)}]")
        st.caption(f"Measured in {known[state.EAGER].title} instead.")
        return
    st.caption(plain(known[chosen].about))
    own = known[chosen].own_step(plan)
    if own:
        with st.container(border=True):  # as the recipe's other steps
            st.caption(f":material/memory: **Last step, by the engine**  \n{plain(own)}")


def measured_in(runs: Sequence[Run], key: str) -> tuple[list[Run], str]:
    """Those of the runs that ran in the chosen engine, and its title; `key` is the choice's, one for each page."""
    from vitedge_core.experiments.runs import ENGINE

    begun: str | None = state.widget(key)  # a sweep in it has just begun and has no runs yet
    titles: list[str] = list(dict.fromkeys([ENGINE, *(run.engine for run in runs), *([begun] if begun else [])]))
    title = st.selectbox(
        "Engine", titles, key=key, persist_state="session", disabled=len(titles) < 2, width=230,
        help="Two engines differ in speed and in some answers, so only recipes in one of them are compared.",
    )  # fmt: skip
    return [run for run in runs if run.engine == title], title


def available() -> dict[str, str]:
    """Titles of the engines that can be used here, by key."""
    return {key: engine.title for key, engine in _known().items() if engine.missing() is None}


def title_of(key: str) -> str:
    """What people call the engine of that key."""
    return _known()[key].title


def key_of(title: str) -> str:
    """Key of the engine of that title; the eager one's if nobody knows it here."""
    return next((engine.key for engine in _known().values() if engine.title == title), state.EAGER)


def _known() -> dict[str, Engine]:
    from vitedge_core.backends import ENGINES

    return {engine.key: engine for engine in ENGINES}


def _chosen() -> None:
    state.set_engine(state.widget("engine") or state.EAGER)


def _named(engine: Engine, reason: str | None) -> str:
    if not reason:
        return engine.title
    return f"{engine.title} (not {'installed' if engine.missing() else 'for this recipe'})"


def _help(known: dict[str, Engine], reasons: dict[str, str | None]) -> str:
    lead = f"{HELP}\n" if any(reasons.values()) else HELP
    return "\n".join([lead, *(f"- {known[key].title}: {plain(reason)}" for key, reason in reasons.items() if reason)])
